//! Keepgate's own tools under observation: what they are refused is told, and still refused.

use keepgate::jail::probe::Findings;
use keepgate::wire::messages::{DENIALS_MAX, Layer};

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
