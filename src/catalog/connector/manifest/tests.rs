use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::toml as written;
use super::*;

const WHOLE: &str = r#"
name = "mail"
title = "Mail"
version = "1.0.2"
publisher = "io.github.example"
[package]
registry = "npm"
identifier = "@example/mail"
version = "1.0.2"
sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
[stdio]
program = "/usr/bin/node"
arguments = ["/srv/mail/index.js", "--log", "info"]
files = ["/srv/mail"]
[jail]
ro = ["/usr", "/srv/mail"]
rw = ["/srv/outbox"]
net = ["mail.example:443"]
[jail.env]
MAIL_HOST = "mail.example"
[jail.limits]
memory_mib = 256
[secrets.token]
env = "MAIL_TOKEN"
about = "Token of the mail service"
[tools.send_mail]
class = "send"
reversibility = "mitigable"
dry_run = { arguments = { dry_run = true } }
calls_per_minute = 5
calls_per_day = 50
undo = { tool = "recall", arguments = { id = "result:/id", why = { value = "undo" } } }
high_value = { parameter = "to", usual = ["ops@example.net"] }
[tools.send_mail.parameters]
to = { role = "target", kind = "email" }
text = { role = "content" }
[tools.send_mail.outputs]
"/id" = "trusted"
[limits]
calls_per_minute = 60
[allow]
elicitation = true
"#;

fn told(text: &str) -> String {
    let error = Written::parse(text, "m.toml").unwrap_err();
    assert_eq!(error.kind(), Kind::Usage, "{error}");
    let hint = error
        .hint_text()
        .unwrap_or_else(|| panic!("no hint: {error}"));
    format!("{}\nhint: {hint}", error.message())
}

#[test]
fn a_whole_manifest_is_read_and_written_as_the_same() {
    let connector = Connector::parse(WHOLE, "m.toml").unwrap();
    assert_eq!(connector.name, "mail");
    let Launch::Stdio { argv, jail, .. } = &connector.launch else {
        panic!("no server");
    };
    assert_eq!(argv[..2], ["node", "/srv/mail/index.js"]);
    assert_eq!(jail.name, "mail");
    assert_eq!(jail.limits.memory, 256 << 20);
    let declared = connector.declared("send_mail");
    assert_eq!(declared.class, EffectClass::Send);
    assert_eq!(declared.rates.calls_per_minute, Some(5));
    assert_eq!(declared.rates.calls_per_day, Some(50));
    assert_eq!(declared.parameter("text").role, Role::Content);
    assert_eq!(declared.parameter("cc").role, Role::Target);
    assert_eq!(declared.output("/id"), Label::Trusted);
    assert_eq!(declared.output("/text"), Label::Untrusted);
    let unknown = connector.declared("delete_all");
    assert_eq!(unknown.class, EffectClass::Destructive);
    assert!(connector.allow.elicitation && !connector.allow.sampling);

    let mut remarks = BTreeMap::new();
    let hostile = "a\nclass = \"read\"\u{202e}".to_owned();
    remarks.insert("send_mail".to_owned(), vec![hostile]);
    let text = written(&connector, &remarks);
    assert_eq!(Connector::parse(&text, "m.toml").unwrap(), connector);
    assert!(text.is_ascii());
}

#[test]
fn remotes_and_skills_are_written_as_they_are_read() {
    for text in [
        "name = \"a\"\nresources = \"data\"\n[remote]\nurl = \"https://mcp.example.net/mcp\"\n",
        "name = \"a\"\n[remote]\nurl = \"https://mcp.example.net/mcp\"\n[secrets.key]\nheader = \"X-Api-Key\"\n",
        "name = \"a\"\n[remote]\nurl = \"http://10.1.2.3:8080/mcp\"\nprivate = [\"10.0.0.0/8\"]\n[secrets.key]\nbasic = \"user\"\n",
        "name = \"a\"\n[skill]\nfolder = \"/srv/skill\"\n[skill.scripts.fill]\nscript = \"scripts/fill.py\"\nwith = [\"/usr/bin/python3\"]\n[jail]\nro = [\"/usr\"]\n",
    ] {
        let connector = Connector::parse(text, "m.toml").unwrap();
        let again = written(&connector, &BTreeMap::new());
        assert_eq!(
            Connector::parse(&again, "m.toml").unwrap(),
            connector,
            "{again}"
        );
    }
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_what_mends_it() {
    let stdio = "name = \"a\"\n[stdio]\nprogram = \"/usr/bin/x\"\n[jail]\nro = [\"/usr\"]\n";
    let remote = "name = \"a\"\n[remote]\nurl = \"https://a.example/\"\n";
    for (base, rest, what) in [
        ("", "nmae = \"a\"", "line 1: unknown field `nmae`"),
        (
            "name = \"a\"\nresources = \"some\"\n",
            "[remote]\nurl = \"https://a.example/\"",
            "line 2: `some` is no kind of resources",
        ),
        (
            "name = \"a\"\nresources = \"data\"\n",
            "[skill]\nfolder = \"/srv/skill\"\n[jail]\nro = [\"/usr\"]\n",
            "line 2: the resources of a skill are its files",
        ),
        (
            "",
            "name = \"A b\"\n[remote]\nurl = \"https://a.example/\"",
            "line 1: `A b` cannot be the name",
        ),
        (
            "",
            "name = \"a\"",
            "does not say how the connector is started",
        ),
        (
            "",
            "name = \"a\"\n[stdio]\nprogram = \"/x\"",
            "there is no `[jail]`",
        ),
        (
            stdio,
            "[remote]\nurl = \"https://a.example/\"",
            "in one way only",
        ),
        (
            remote,
            "[jail]\nro = [\"/usr\"]",
            "line 4: a remote server has no jail",
        ),
        (
            "name = \"a\"\n[stdio]\nprogram = \"/x\"\n[jail]\n",
            "class = \"native\"",
            "cannot run in class `native`",
        ),
        (stdio, "or = [\"/usr\"]", "unknown field `or`"),
        (
            stdio,
            "rw = [\"relative\"]",
            "line 6: the path `relative` is not absolute",
        ),
        (
            stdio,
            "[jail.limits]\nmemory_mib = 1",
            "`memory_mib` 1 is out of bounds",
        ),
        (
            stdio,
            "[tools.x]\nclass = \"reads\"",
            "line 7: `reads` is no class",
        ),
        (
            stdio,
            "[tools.x]\nreversibility = \"yes\"",
            "`yes` is no reversibility",
        ),
        (
            stdio,
            "[tools.x.parameters]\np = { role = \"goal\" }",
            "`goal` is no role",
        ),
        (
            stdio,
            "[tools.x.parameters]\np = { kind = \"mail\" }",
            "`mail` is no kind",
        ),
        (
            stdio,
            "[tools.x.outputs]\nid = \"trusted\"",
            "`id` is no JSON pointer",
        ),
        (
            stdio,
            "[tools.x.outputs]\n\"/id\" = \"safe\"",
            "`safe` is no label",
        ),
        (
            stdio,
            "[tools.x]\ndry_run = { tool = \"a\", arguments = { b = 1 } }",
            "one of `tool` and `arguments`",
        ),
        (
            stdio,
            "[tools.x]\nundo = { tool = \"y\", arguments = { id = \"reply:/id\" } }",
            "says not where from",
        ),
        (
            stdio,
            "[tools.x]\nhigh_value = \"sometimes\"",
            "no rule of high value",
        ),
        (
            stdio,
            "[secrets.k]\nheader = \"x-key\"",
            "Keepgate does not make the requests",
        ),
        (
            stdio,
            "[secrets.k]\nenv = \"A\"\nprefix = \"x\"",
            "`prefix` has no meaning",
        ),
        (stdio, "[secrets.k]\nenv = \"1A\"", "no name of a variable"),
        (
            stdio,
            "[secrets.a]\nenv = \"A\"\n[secrets.b]\nenv = \"A\"",
            "it goes where `a` goes",
        ),
        (
            remote,
            "[secrets.k]\nenv = \"A\"",
            "a remote server has no environment",
        ),
        (
            remote,
            "[secrets.k]\nabout = \"x\"",
            "not said, or said twice",
        ),
        (
            remote,
            "[secrets.k]\nheader = \"Mcp-Session-Id\"",
            "Keepgate itself sets",
        ),
        (
            remote,
            "[secrets.k]\nheader = \"a b\"",
            "no name of a header",
        ),
        (
            remote,
            "[package]\nregistry = \"npm\"\nidentifier = \"x\"\nversion = \"latest\"",
            "no exact version",
        ),
        (
            remote,
            "[package]\nregistry = \"cargo\"\nidentifier = \"x\"\nversion = \"1\"",
            "`cargo` is no registry",
        ),
        (
            remote,
            "[limits]\ncalls_per_minute = 0",
            "0 is out of bounds",
        ),
        (remote, "[tools.x]\ncalls_per_day = 0", "0 is out of bounds"),
        (remote, "[allow]\nsamplin = true", "unknown field `samplin`"),
    ] {
        let said = told(&format!("{base}{rest}"));
        assert!(said.contains(what), "{rest}: {said}");
        assert!(said.starts_with("`m.toml` line "), "{said}");
    }
    for url in [
        "http://a.example/",
        "ftp://a.example/",
        "https://u:p@a.example/",
        "x",
        "https://a.example/#f",
    ] {
        told(&format!("name = \"a\"\n[remote]\nurl = \"{url}\"\n"));
    }
}

#[test]
fn long_and_foreign_bytes_are_refused() {
    let long = vec![b'#'; usize::try_from(FILE_MAX).unwrap() + 1];
    assert!(Written::parse_bytes(&long, "m").is_err());
    assert!(Written::parse_bytes(b"name = \"\xff\"", "m").is_err());
}

proptest! {
    #[test]
    fn no_text_upsets_it(text in "[a-z=\"\\[\\]{}.\n# 0-9]{0,200}") {
        let _ = Written::parse(&text, "m.toml");
        let _ = Written::parse(&format!("{WHOLE}{text}"), "m.toml");
    }
}
