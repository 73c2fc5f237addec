//! Giving new files their names, and putting old ones back.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keepgate::call::id::Id;
use keepgate::wire::messages::{FileState, JailFault, KeeperToJailer};

use super::driver::{Jailer, OWNER, mode};
use super::orders::{LIMITS, digest, present};

#[test]
fn a_write_is_published_and_restored() {
    let jailer = Jailer::new();
    let (ticket, output) = jailer.write("new", "one", true);
    assert!(output.contains("\"created\":true"), "{output}");
    assert_eq!(jailer.names(), [""; 0]);
    jailer.publish(ticket, FileState::Absent, b"one").unwrap();
    assert_eq!(fs::read(jailer.path("new")).unwrap(), b"one");
    assert_eq!(jailer.inspect("new").unwrap(), present(b"one", 0o640));
    let meta = fs::metadata(jailer.path("new")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (OWNER, OWNER));
    mode(&jailer.path("new"), 0o604);
    let (one, two) = (present(b"one", 0o604), present(b"two", 0o604));
    let (ticket, output) = jailer.write("new", "two", false);
    assert!(output.contains("-one"), "{output}");
    jailer.publish(ticket, one.clone(), b"two").unwrap();
    assert_eq!(jailer.inspect("new").unwrap(), two);
    let back = jailer.restore("new", two, one.clone(), b"one");
    assert_eq!(back, Ok(()));
    assert_eq!(jailer.inspect("new").unwrap(), one);
    let back = jailer.restore("new", one, FileState::Absent, b"");
    assert_eq!(back, Ok(()));
    assert_eq!(jailer.names(), [""; 0]);
    let three = present(b"three", 0o600);
    let back = jailer.restore("new", FileState::Absent, three.clone(), b"three");
    assert_eq!(back, Ok(()));
    assert_eq!(jailer.inspect("new").unwrap(), three);
    assert_eq!(jailer.names(), ["new"]);
}

#[test]
fn a_target_that_changed_is_left_alone() {
    let jailer = Jailer::new();
    let path = jailer.path("a");
    let state = present(b"old", 0o644);
    let changes: [(&str, &dyn Fn()); 5] = [
        ("content", &|| jailer.file("a", b"odd")),
        ("longer", &|| jailer.file("a", b"older")),
        ("mode", &|| mode(&path, 0o666)),
        ("gone", &|| fs::remove_file(&path).unwrap()),
        ("directory", &|| {
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
        }),
    ];
    for (name, change) in changes {
        drop(fs::remove_file(&path));
        jailer.file("a", b"old");
        mode(&path, 0o644);
        let (ticket, _) = jailer.write("a", "new", false);
        change();
        let publish = jailer.publish(ticket, state.clone(), b"new");
        assert_eq!(publish.unwrap_err().0, JailFault::Changed, "{name}");
        let restore = jailer.restore("a", state.clone(), FileState::Absent, b"");
        assert_eq!(restore, Err(JailFault::Changed), "{name}");
    }
    fs::remove_dir(&path).unwrap();
    symlink("/etc/passwd", &path).unwrap();
    let restore = jailer.restore("a", state, FileState::Absent, b"");
    assert_eq!(restore, Err(JailFault::Outside));
    fs::remove_file(&path).unwrap();
    let (ticket, _) = jailer.write("a", "new", true);
    jailer.file("a", b"");
    let publish = jailer.publish(ticket, FileState::Absent, b"new");
    assert_eq!(publish.unwrap_err().0, JailFault::Changed);
    assert_eq!(fs::read(&path).unwrap(), b"");
    assert_eq!(jailer.names(), ["a"]);
}

#[test]
fn content_the_keeper_was_not_shown_is_not_published_and_its_ticket_is_spent() {
    let jailer = Jailer::new();
    let (ticket, _) = jailer.write("a", "new", true);
    let shown = jailer.publish(ticket, FileState::Absent, b"other");
    assert_eq!(shown.unwrap_err().0, JailFault::Changed);
    let again = jailer.publish(ticket, FileState::Absent, b"new");
    assert_eq!(again.unwrap_err().0, JailFault::Failed);
    assert_eq!(jailer.names(), [""; 0]);
}

/// What an older one has taken the place of: the number, and what was there instead.
type Lost = Vec<(u32, String)>;

/// Replaces the file at `path` over and over, each time by the next number.
fn replace_again_and_again(path: &Path, beside: &Path, stop: &AtomicBool) -> Lost {
    let (mut count, mut lost) = (0, Vec::new());
    while !stop.load(Ordering::SeqCst) {
        fs::write(beside, (count + 1).to_string()).unwrap();
        mode(beside, 0o644);
        chown(beside, Some(OWNER), Some(OWNER)).unwrap();
        // An older one may show for a moment, while a change found too late is put back.
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let seen = fs::read_to_string(path).unwrap();
            if seen == "ours" || seen == count.to_string() {
                break;
            }
            if Instant::now() > until {
                lost.push((count, seen));
                break;
            }
        }
        fs::rename(beside, path).unwrap();
        count += 1;
    }
    lost
}

/// Publishes while somebody else replaces the same file: how often that went well, and what the
/// other lost. `expected` is what the keeper says it saw.
fn race(expected: impl Fn(&Jailer) -> FileState) -> (u32, Lost) {
    let jailer = Jailer::new();
    jailer.file("a", b"0");
    mode(&jailer.path("a"), 0o644);
    let stop = Arc::new(AtomicBool::new(false));
    let theirs = std::thread::spawn({
        let (path, beside, stop) = (jailer.path("a"), jailer.path("b"), Arc::clone(&stop));
        move || replace_again_and_again(&path, &beside, &stop)
    });
    let mut done = 0;
    for _ in 0..100 {
        let (ticket, _) = jailer.write("a", "ours", false);
        match jailer.publish(ticket, expected(&jailer), b"ours") {
            Ok(()) => done += 1,
            Err((fault, detail)) => assert_eq!(fault, JailFault::Changed, "{detail}"),
        }
    }
    stop.store(true, Ordering::SeqCst);
    let lost = theirs.join().unwrap();
    assert_eq!(jailer.names(), ["a"]);
    (done, lost)
}

#[test]
fn what_the_keeper_saw_is_replaced_once_in_a_race() {
    // The other party never writes this again.
    let (done, _) = race(|_| present(b"0", 0o644));
    assert!(done <= 1, "{done}");
}

#[test]
fn nobodys_change_is_lost_in_a_race() {
    let (_, lost) = race(|jailer| jailer.inspect("a").unwrap());
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn orders_that_are_none_are_refused() {
    let jailer = Jailer::new();
    let ticket = Id::random().unwrap();
    let say = KeeperToJailer::Spawn {
        ticket,
        tool: "noop".into(),
        limits: LIMITS,
        files: vec![],
        stream: true,
    };
    assert_eq!(jailer.ask(&say, &[]).unwrap_err().0, JailFault::Failed);
    let publish = jailer.publish(ticket, FileState::Absent, b"");
    assert_eq!(publish.unwrap_err().0, JailFault::Failed);
    let (_, end, output) = jailer.run("no.such", "", vec![]);
    assert_eq!(end.unwrap().code, Some(0));
    assert!(output.contains("unknown_tool"), "{output}");
    let (ticket, _) = jailer.write("a", "x", true);
    jailer.say(&KeeperToJailer::Discard { ticket }, &[], &[]);
    let publish = jailer.publish(ticket, FileState::Absent, b"x");
    assert_eq!(publish.unwrap_err().0, JailFault::Failed);
    assert_eq!(jailer.names(), [""; 0]);
}

#[test]
fn scratch_names_that_may_be_in_use_are_kept() {
    let jailer = Jailer::new();
    let fresh = format!(".keepgate-{}-{:.32}", Id::random().unwrap(), digest(b"x"));
    jailer.file(&fresh, b"x");
    jailer.file(".keepgate-no-ticket", b"x");
    jailer.write("a", "x", true);
    let mut kept = [fresh.as_str(), ".keepgate-no-ticket"];
    kept.sort_unstable();
    assert_eq!(jailer.names(), kept);
}
