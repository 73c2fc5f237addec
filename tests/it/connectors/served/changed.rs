//! What changes once it was approved.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{ERAS, World, copy, mode, names, reads, running, source};
use crate::harness::eventually;

/// One change of an approved skill while it is served, and what has to name it.
type Pull = (&'static str, fn(&Path), &'static str);

const PULLS: [Pull; 6] = [
    (
        "script",
        |folder| {
            let path = folder.join("scripts/echo.py");
            fs::write(&path, "print('pulled')\n").unwrap();
        },
        "scripts/echo.py",
    ),
    (
        "same-length",
        |folder| {
            let path = folder.join("SKILL.md");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace("Count the", "Pull! the")).unwrap();
        },
        "SKILL.md",
    ),
    (
        "reference",
        |folder| fs::write(folder.join("references/layout.md"), "pulled").unwrap(),
        "references/layout.md",
    ),
    (
        "added",
        |folder| fs::write(folder.join("scripts/json.py"), "print('pulled')\n").unwrap(),
        "scripts/json.py",
    ),
    (
        "link",
        |folder| {
            let path = folder.join("assets/logo.png");
            fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
        },
        "assets/logo.png",
    ),
    (
        "mode",
        |folder| mode(&folder.join("scripts/count.sh"), 0o755),
        "scripts/count.sh",
    ),
];

#[test]
fn what_changed_after_the_approval_is_neither_run_nor_served() {
    let mut world = World::new();
    for (name, ..) in PULLS {
        world.approved(name, reads);
    }
    world.approved("steady", reads);
    world.serve();
    let every = |name: &str| {
        json!([
            ["call", format!("{name}__echo"), {}],
            ["prompt", format!("{name}__reports")],
            ["read", format!("skill://{name}/SKILL.md")],
            ["read", format!("skill://{name}/references/layout.md")],
            ["read", format!("skill://{name}/assets/logo.png")],
        ])
    };
    let refused = |told: &Value| told["isError"] == true || told.get("error").is_some();
    // Which of the five is asked first makes no difference: the first one finds out.
    for (turn, (name, pull, told)) in PULLS.iter().enumerate() {
        let before = world.asks(ERAS[0], &every(name));
        assert!(!before.iter().any(refused), "{name}: {before:?}");
        pull(&world.folder(name));
        let mut asked = every(name);
        asked.as_array_mut().unwrap().rotate_left(turn % 5);
        let after = world.asks(ERAS[0], &asked);
        assert!(after.iter().all(refused), "{name}: {after:?}");
        let first = after[0].to_string();
        assert!(first.contains("quarantined"), "{name}: {first}");
        let all = json!(after).to_string();
        assert!(
            !all.contains("pulled") && !all.contains("root:"),
            "{name}: {all}"
        );
        world.quarantined(name, told);
    }
    let listed = world.asks(ERAS[0], &json!([["tools"], ["prompts"], ["resources"]]));
    let own = |listed: &Value, member: &str| -> Vec<String> {
        let mut all = names(listed, member);
        all.retain(|name| !name.starts_with("file__") && !name.starts_with("http__"));
        all
    };
    assert_eq!(
        own(&listed[0], "name"),
        ["steady__count", "steady__echo", "steady__try"]
    );
    assert_eq!(own(&listed[1], "name"), ["steady__reports"]);
    assert_eq!(own(&listed[2], "uri").len(), 4);
    let entries = world.appliance.entries("connector.quarantined");
    assert_eq!(entries.len(), PULLS.len());
    let steady = world.asks(ERAS[1], &every("steady"));
    assert!(!steady.iter().any(refused), "{steady:?}");

    // What was there before lifts nothing, and a new approval does.
    copy(&source(), &world.folder("script"));
    let still = world.asks(ERAS[0], &every("script"));
    assert!(still.iter().all(refused), "{still:?}");
    fs::write(world.folder("script").join("references/layout.md"), "new").unwrap();
    world.vet("script");
    world.approve("script");
    world.appliance.reload();
    eventually("the approval is taken over", || {
        world.state("script")["state"] == "approved" && world.appliance.serving()
    });
    let anew = world.asks(ERAS[0], &every("script"));
    assert!(!anew.iter().any(refused), "{anew:?}");
    assert_eq!(anew[3]["contents"][0]["text"], "new");
}

#[test]
fn scripts_that_run_end_when_their_skill_is_quarantined() {
    let mut world = World::new();
    world.approved("reports", reads);
    world.serve();
    let mut session = world.appliance.session("bot");
    let sleeps = json!({"name": "reports__try", "arguments": {"args": ["sleep", "x"]}});
    let sleeps = session.ask("tools/call", sleeps);
    eventually("the script runs", || {
        let marker = world.folder("reports").join("scripts/try.py");
        running(marker.to_str().unwrap()) > 0
    });
    fs::write(world.folder("reports").join("references/layout.md"), "new").unwrap();
    let reads = session.ask("resources/read", json!({"uri": "skill://reports/SKILL.md"}));
    let mut open = vec![sleeps, reads];
    while !open.is_empty() {
        let told = session.next();
        let id = told["id"].as_u64();
        if id == Some(sleeps) {
            assert_eq!(told["result"]["isError"], true, "{told}");
            // Its own end and that of the skill may be told in either order.
            let killed = told["result"]["structuredContent"]["ended"] == "killed";
            let class = &told["result"]["_meta"]["keepgate/class"];
            assert!(killed || class == "quarantined", "{told}");
        } else if id == Some(reads) {
            let why = told["error"]["message"].as_str().unwrap();
            assert!(why.contains("quarantined"), "{told}");
        }
        open.retain(|one| Some(*one) != id);
    }
}
