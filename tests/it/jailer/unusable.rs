//! Manifests that cannot be used, beside one that can.

use std::os::unix::net::UnixListener;

use keepgate::wire::manifest::Manifest;
use keepgate::wire::messages::JailFault;

use super::driver::{mode, start};
use super::foreign::manifest;

#[test]
fn a_manifest_that_cannot_be_used_leaves_the_others_alone() {
    let place = tempfile::tempdir().unwrap();
    mode(place.path(), 0o755);
    let held = place.path().join("socket");
    let _socket = UnixListener::bind(&held).unwrap();
    let called = |name: &str, change: fn(&mut Manifest)| {
        let mut manifest = manifest();
        manifest.name = name.into();
        change(&mut manifest);
        manifest
    };
    let mut holds = called("holds", |manifest| manifest.loopback = true);
    holds.ro.push(place.path().into());
    let jailer = start(|setup| {
        setup.manifests = vec![
            called("gone", |manifest| {
                manifest.ro.push("/nowhere/at/all".into())
            }),
            called("good", |_| {}),
            holds,
            // Too little for a program to be loaded.
            called("small", |manifest| manifest.limits.memory = 64 << 10),
            called("twisted", |manifest| {
                manifest.rw.push("/etc/hostname".into())
            }),
        ];
    })
    .unwrap();
    let mut unusable = jailer.test.unusable.clone();
    unusable.sort_by(|one, other| one.manifest.cmp(&other.manifest));
    let names: Vec<&str> = unusable.iter().map(|one| one.manifest.as_str()).collect();
    assert_eq!(names, ["gone", "holds", "small", "twisted"], "{unusable:?}");
    let told = |number: usize| format!("{}; {:?}", unusable[number].why, unusable[number].hint);
    assert!(
        told(0).contains("`/nowhere/at/all` is not there"),
        "{}",
        told(0)
    );
    assert!(told(1).contains("holds the socket"), "{}", told(1));
    assert!(told(3).contains("must be a directory"), "{}", told(3));
    // All of its jail was tried, and nothing got through.
    assert_eq!(jailer.test.succeeded, [""; 0]);
    let (end, out, errors) = jailer.jail("good", &["/bin/echo", "works"]);
    assert_eq!(
        (end.unwrap().code, out.as_str()),
        (Some(0), "works\n"),
        "{errors}"
    );
    for name in names {
        let (end, out, _) = jailer.jail(name, &["/bin/echo", "works"]);
        let (fault, detail) = end.unwrap_err();
        assert_eq!(fault, JailFault::Failed);
        assert!(detail.contains("this manifest cannot be used"), "{detail}");
        assert_eq!(out, "");
    }
    let (_, end, _) = jailer.run("noop", "", vec![]);
    assert_eq!(end.unwrap().code, Some(0));
}
