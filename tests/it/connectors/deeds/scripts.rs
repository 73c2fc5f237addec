//! What a script of a skill did is taken back by another script of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use serde_json::json;

use crate::harness::{Appliance, OWNER};

const DECLARED: &str = r#"
[tools.make]
class = "write"
reversibility = "reversible"
dry_run = { tool = "look" }
undo = { tool = "unmake", arguments = { args = "arguments:/args" } }
[tools.look]
class = "read"
reversibility = "reversible"
[tools.look.outputs]
"/exit_code" = "trusted"
"#;

#[test]
fn a_script_is_rehearsed_and_taken_back_by_others() {
    let mut appliance = Appliance::init("");
    let dir = appliance.directory.path().canonicalize().unwrap();
    let (folder, place) = (dir.join("skill"), dir.join("things"));
    let at = place.to_str().unwrap();
    for one in [&folder, &folder.join("scripts"), &place] {
        fs::create_dir(one).unwrap();
        fs::set_permissions(one, fs::Permissions::from_mode(0o755)).unwrap();
    }
    chown(&place, Some(OWNER), Some(OWNER)).unwrap();
    let first = format!("import os, sys\nat = os.path.join({at:?}, sys.argv[1])\n");
    for (name, text) in [
        (
            "SKILL.md",
            "---\nname: things\ndescription: Make things.\n---\nMake them.\n".to_owned(),
        ),
        ("scripts/make.py", format!("{first}open(at, 'x').close()\n")),
        ("scripts/unmake.py", format!("{first}os.remove(at)\n")),
        (
            "scripts/look.py",
            "import sys\nprint('would make', sys.argv[1])\n".into(),
        ),
    ] {
        let file = folder.join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    }
    appliance.must(&[
        "connector",
        "import",
        "things",
        folder.to_str().unwrap(),
        "--rw",
        at,
    ]);
    let manifest = appliance.path("connectors/things.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let before = text.split("[tools.").next().unwrap();
    fs::write(&manifest, format!("{before}{DECLARED}")).unwrap();
    let vetted = appliance.cli(&["connector", "vet", "things"]);
    assert!(matches!(vetted.status.code(), Some(0 | 3)), "{vetted:?}");
    appliance.must(&["connector", "approve", "things", "--by", "alice"]);
    let config = appliance.path("keepgate.toml");
    let text = fs::read_to_string(&config).unwrap();
    let text = format!("{text}\n[planes.production.connectors.things]\nagents = [\"bot\"]\n");
    fs::write(config, text).unwrap();
    appliance.serve();
    appliance.enrol("bot");
    appliance.policy("permit (principal, action, resource);\n");
    let mut session = appliance.session("bot");

    let told = session.call("things__make", json!({"args": ["one"]}));
    assert_eq!(told["_meta"]["keepgate/rehearsal"]["by"], "tool", "{told}");
    assert!(
        told["content"].to_string().contains("would make one"),
        "{told}"
    );
    assert!(!place.join("one").exists());
    let told = session.call("things__unmake", json!({"args": ["one"]}));
    let text = told["content"][0]["text"].as_str().unwrap();
    assert!(
        text.contains(r#"would be run with {"args":["one"]}"#),
        "{text}"
    );
    assert!(text.contains("needs_person"), "{text}");

    appliance.must(&["mode", "live"]);
    assert_eq!(
        session.fails("things__unmake", json!({"args": ["one"]})),
        "needs_person"
    );
    let made = session.call("things__make", json!({"args": ["one"]}));
    assert_ne!(made["isError"], true, "{made}\n{}", appliance.diagnostics());
    assert!(place.join("one").exists());
    let intents = appliance.entries("call.intent");
    let intent = intents.last().unwrap();
    assert_eq!(intent["body"]["undo"]["tool"], "unmake", "{intent}");
    let seq = intent["seq"].to_string();
    appliance.must(&["undo", &seq, "--yes"]);
    assert!(!place.join("one").exists());
    let again = appliance.cli(&["undo", &seq, "--yes"]);
    assert_eq!(again.status.code(), Some(10), "{again:?}");
    // One that fails has taken nothing back, and is told.
    session.call("things__make", json!({"args": ["two"]}));
    fs::remove_file(place.join("two")).unwrap();
    let intents = appliance.entries("call.intent");
    let seq = intents.last().unwrap()["seq"].to_string();
    let failed = appliance.cli(&["undo", &seq, "--yes"]);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(said.contains("its tool did not do it"), "{said}");
}
