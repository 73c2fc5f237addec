//! Keepgate's own tools under observation: what they are refused is told, and still refused.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;

use keepgate::call::id::Id;
use keepgate::jail::probe::Findings;
use keepgate::wire::manifest::{Class, Manifest};
use keepgate::wire::messages::{DENIALS_MAX, KeeperToJailer, Layer};

use super::driver::start;

#[test]
fn what_a_tool_is_refused_is_told_and_refused_all_the_same() {
    let jailer = start(|setup| setup.observe = true).unwrap();
    jailer.file("a", b"content");
    // A tool that does its work is refused nothing.
    let order = serde_json::json!({"arguments": {"path": "a"}, "mode": "live"}).to_string();
    let files = vec![jailer.order("a", keepgate::wire::messages::OpenAs::Read)];
    let (_, end, output) = jailer.run("file.read", &order, files);
    assert!(output.contains("content"), "{output}");
    assert_eq!(end.unwrap().denials, []);
    // One that tries everything gets nothing, and each kind of attempt is told.
    let (_, end, output) = jailer.run("self-test", "", vec![]);
    let end = end.unwrap();
    let found: Findings = serde_json::from_str(&output).unwrap();
    assert_eq!(found.succeeded, [""; 0]);
    assert!(end.denials.len() <= DENIALS_MAX);
    let told: u32 = end.denials.iter().map(|denial| denial.count).sum();
    assert!(told >= 100, "{told} of {}", found.attempted);
    assert!(
        end.denials
            .iter()
            .all(|denial| denial.layer == Layer::Seccomp)
    );
    let has = |begin: &str| {
        end.denials
            .iter()
            .any(|denial| denial.attempt.starts_with(begin))
    };
    assert!(has("openat(AT_FDCWD, "), "{:?}", end.denials);
    assert!(has("socket(AF_INET, SOCK_STREAM"), "{:?}", end.denials);
}

/// Makes 12,000 calls that are refused, and says how many were.
const FLOOD: &str = "
import os
refused = 0
for _ in range(12000):
    try: os.setuid(0)
    except OSError: refused += 1
print(refused)
";

#[test]
fn a_flood_of_refused_calls_is_told_up_to_a_number() {
    let mut manifest = Manifest::of(Class::Foreign);
    let system = ["/usr", "/bin", "/lib", "/lib64"].map(PathBuf::from);
    manifest.ro = system.into_iter().filter(|path| path.exists()).collect();
    let jailer = start(|setup| setup.manifests = vec![manifest]).unwrap();
    let (mut read, write) = std::io::pipe().unwrap();
    let (ticket, null) = (Id::random().unwrap(), super::orders::null());
    let say = KeeperToJailer::Run {
        ticket,
        lasting: false,
        manifest: "foreign".into(),
        program: "/usr/bin/python3".into(),
        argv: ["python3", "-c", FLOOD].map(Into::into).into(),
    };
    jailer.say(&say, &[], &[null.as_fd(), write.as_fd(), null.as_fd()]);
    drop(write);
    let mut output = String::new();
    read.read_to_string(&mut output).unwrap();
    assert_eq!(output, "12000\n");
    let end = jailer.hear_end(ticket).unwrap();
    let told: u32 = end.denials.iter().map(|denial| denial.count).sum();
    assert!((1000..12_000).contains(&told), "{told}");
    assert!(
        end.denials[0].attempt.starts_with("setuid(0)"),
        "{:?}",
        end.denials[0]
    );
}
