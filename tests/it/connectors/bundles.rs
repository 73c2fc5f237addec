//! One signed file from one install to another, without a network.

use std::fs;
use std::process::Command;

use super::Gate;

fn key(gate: &Gate, name: &str) -> (String, String) {
    let (private, public) = (
        gate.path(&format!("{name}.key")),
        gate.path(&format!("{name}.pub")),
    );
    let openssl = |words: &[&str]| {
        assert!(
            Command::new("openssl")
                .args(words)
                .status()
                .unwrap()
                .success(),
            "{words:?}"
        );
    };
    let (private, public) = (private.to_str().unwrap(), public.to_str().unwrap());
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", private]);
    openssl(&["pkey", "-in", private, "-pubout", "-out", public]);
    (private.into(), public.into())
}

#[test]
fn a_bundle_brings_a_connector_to_another_install() {
    let there = Gate::new();
    fs::create_dir(there.server().join("vendor")).unwrap();
    std::os::unix::fs::symlink("mcp.py", there.server().join("link.py")).unwrap();
    there.import("fake", &[]);
    let (private, public) = key(&there, "ours");
    let (_, other) = key(&there, "other");
    let bundle = there.path("fake.bundle");
    let bundle = bundle.to_str().unwrap();
    there.ends(10, &["export", "fake", bundle, "--sign", &private]);
    there.ends(0, &["vet", "fake"]);
    there.ends(0, &["export", "fake", bundle, "--sign", &private]);
    there.ends(1, &["export", "fake", bundle, "--sign", &private]);

    let here = Gate::new();
    here.ends(20, &["import-bundle", bundle, "--trust", &other]);
    // One changed byte anywhere, and nothing is written.
    let bytes = fs::read(bundle).unwrap();
    for place in [0, 30, bytes.len() / 2, bytes.len() - 1] {
        let mut wrong = bytes.clone();
        wrong[place] ^= 1;
        let path = here.path("wrong.bundle");
        fs::write(&path, wrong).unwrap();
        here.ends(
            20,
            &["import-bundle", path.to_str().unwrap(), "--trust", &public],
        );
        assert!(!here.path("gate").exists(), "byte {place}");
    }
    here.ends(0, &["import-bundle", bundle, "--trust", &public]);
    here.ends(2, &["import-bundle", bundle, "--trust", &public]);
    // Its files are elsewhere now, so it is looked at again: no network is needed for that.
    let tree = here.path("gate/state/connectors/fake/tree");
    assert_eq!(
        fs::read_link(tree.join("link.py")).unwrap().to_str(),
        Some("mcp.py")
    );
    here.ends(0, &["vet", "fake"]);
    here.ends(0, &["approve", "fake", "--by", "bob"]);
    here.ends(0, &["diff", "fake"]);

    // Into the same place again: the report is still the one of it.
    here.ends(
        0,
        &[
            "export",
            "fake",
            here.path("again").to_str().unwrap(),
            "--sign",
            &private,
        ],
    );
    here.ends(0, &["remove", "fake", "--yes"]);
    let again = here.path("again");
    let value = here.json(
        0,
        &["import-bundle", again.to_str().unwrap(), "--trust", &public],
    );
    assert_eq!(value["as_exported"], true);
    here.ends(0, &["approve", "fake", "--by", "bob"]);
    here.ends(0, &["diff", "fake"]);

    // One that is older than what is here says so; it has to be approved anew in any case.
    let words = ["import-bundle", bundle, "--trust", &public, "--replace"];
    let value = here.json(0, &words);
    assert!(
        value["vetted"].as_str() < value["older_than"].as_str(),
        "{value}"
    );
    let words = [
        "import-bundle",
        again.to_str().unwrap(),
        "--trust",
        &public,
        "--replace",
    ];
    let value = here.json(0, &words);
    assert_eq!(value["older_than"], serde_json::Value::Null);
    here.ends(0, &["vet", "fake"]);
    let said = here.ends(
        0,
        &["import-bundle", bundle, "--trust", &public, "--replace"],
    );
    assert!(said.contains("older than what it replaces"), "{said}");
}
