//! Every way to write the configuration wrong, and what the operator reads then.

use super::*;

/// (text, part of the message)
const WRONG: &[(&str, &str)] = &[
    (
        "[appliance]\nnmae = \"x\"\n",
        "`f` line 2: unknown field `nmae`",
    ),
    ("[appliance\n", "`f` line 1: "),
    ("a = 1\n", "`f` line 1: unknown field `a`"),
    (
        "[appliance]\nname = \"X Y\"\n",
        "`f` line 2: `X Y` cannot be the name of an appliance",
    ),
    ("[appliance]\nname = 1\n", "`f` line 2: invalid type"),
    ("[appliance]\noperator_uid = -1\n", "`f` line 2: "),
    (
        "[appliance]\noperator_uid = 64101\n",
        "`operator_uid` is one of the roles' own uids",
    ),
    (
        "[appliance]\nuid_base = 0\n",
        "`f` line 2: `uid_base` 0 is out of range",
    ),
    (
        "[appliance]\nuid_base = 4294967290\n",
        "`f` line 2: `uid_base` 4294967290 is out",
    ),
    (
        "[appliance]\naccept = [\n\"A b\"]\n",
        "`f` line 3: `A b` is no degradation",
    ),
    (
        "[appliance]\nresolvers = [\"dns.example\"]\n",
        "`f` line 2: `dns.example` is no address",
    ),
    (
        "[appliance]\nca = [\"ca.pem\"]\n",
        "`f` line 2: a file in `ca` has no absolute path",
    ),
    ("[planes]\n", "0 planes"),
    (
        "[planes.Prod]\n",
        "`f` line 1: `Prod` cannot be the name of a plane",
    ),
    (
        "[planes.\"a\\u001b[2J\"]\n",
        "`a\\u{1b}[2J` cannot be the name of a plane",
    ),
    ("[planes.p]\nx = 1\n", "`f` line 2: unknown field `x`"),
    ("[planes.p]\n[planes.p]\n", "`f` line 2: "),
    ("[planes.p.roots.r]\n", "missing field `path`"),
    (
        "[planes.p.roots.R]\npath = \"/a\"\n",
        "`f` line 1: `R` cannot be the name of a root",
    ),
    (
        "[planes.p.roots.r]\npath = \"a\"\n",
        "`f` line 2: the root path `a` is not absolute",
    ),
    (
        "[planes.p.roots.r]\npath = \"/a/../b\"\n",
        "`f` line 2: the root path `/a/../b` is not",
    ),
    (
        "[planes.p.roots.r]\npath = \"/\"\n",
        "`f` line 2: `/` cannot be a root",
    ),
    (
        "[planes.p.roots.r]\npath = \"/a\"\nuid = 4294967295\n",
        "means nobody",
    ),
    (
        "[planes.p.roots.a]\npath = \"/a\"\n[planes.p.roots.b]\npath = \"/a/\"\n",
        "two roots are `/a`",
    ),
    (
        "[planes.p.quota]\nagent_calls_per_minute = 0\n",
        "`f` line 2: a quota of 0",
    ),
    (
        "[planes.p.quota]\n\nagent_log_bytes_per_day = 1000\n",
        "`f` line 3: 1000 bytes a day do not hold one large call",
    ),
    (
        "[[planes.p.http]]\nscheme = \"ftp\"\nhost = \"a.example\"\nport = 1\nmethods = [\"GET\"]\npath = \"/\"\n",
        "`f` line 1: this way out does not work: `scheme` is neither",
    ),
    (
        "[[planes.p.http]]\nscheme = \"https\"\n",
        "missing field `host`",
    ),
];

#[test]
fn wrong_files_are_named_by_line() {
    for (text, what) in WRONG {
        let error = Config::parse(text, "f").unwrap_err();
        let message = error.message();
        assert!(message.contains(what), "{text}\n{message}");
        assert!(
            !message.contains('\n') && !message.contains('\u{1b}'),
            "{message}"
        );
        assert_eq!(error.kind(), Kind::Usage);
    }
}

#[test]
fn a_whole_file_is_read() {
    let text = r#"
        [appliance]
        name = "gate-1"
        operator_uid = 1000
        resolvers = ["192.0.2.1", "[2001:db8::1]:5353"]
        [planes.b]
        unattended = false
        [planes.a.roots.mail]
        path = "/srv//mail/"
        [[planes.a.http]]
        scheme = "https"
        host = "api.example.net"
        port = 443
        methods = ["GET"]
        path = "/"
        [planes.a.quota]
        agent_calls_per_minute = 5
    "#;
    let config = Config::parse(text, "f").unwrap();
    assert_eq!(config.resolvers(), ["192.0.2.1:53", "[2001:db8::1]:5353"]);
    assert_eq!(config.default_plane(), "a");
    assert_eq!(config.role_uids(), 64_100..64_116);
    let plane = &config.planes["a"];
    assert!(plane.unattended && !config.planes["b"].unattended);
    assert_eq!(plane.roots["mail"].path, Path::new("/srv/mail"));
    assert_eq!(plane.http.len(), 1);
    assert_eq!(plane.quota.agent().entries_per_minute, 5);
    assert_eq!(plane.quota.plane().entries_per_minute, 3_000);
}

#[test]
fn an_empty_file_means_two_empty_planes() {
    let config = Config::parse("", "f").unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.default_plane(), "production");
    assert_eq!(config.planes.len(), 2);
}

#[test]
fn missing_and_forbidden_files_are_told_apart_from_wrong_ones() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keepgate.toml");
    assert_eq!(Config::find(&path).unwrap(), None);
    assert!(
        Config::load(&path)
            .unwrap_err()
            .hint_text()
            .unwrap()
            .contains("keepgate init")
    );
    std::fs::write(&path, b"\xff").unwrap();
    assert!(
        Config::find(&path)
            .unwrap_err()
            .message()
            .contains("not UTF-8")
    );
    std::fs::write(&path, vec![b'#'; 1 << 21]).unwrap();
    assert!(
        Config::load(&path)
            .unwrap_err()
            .message()
            .contains("longer than")
    );
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_fail_otherwise(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        drop(Config::parse_bytes(&bytes, "f"));
    }
}

#[test]
fn no_plane_has_the_place_of_connectors() {
    let error = Config::parse("[planes.connectors]\n", "keepgate.toml").unwrap_err();
    assert!(
        error
            .message()
            .contains("no plane can be called `connectors`")
    );
    assert!(error.hint_text().is_some());
}
