//! Screens of the command line, as files.

#[test]
fn screens_are_what_the_files_say() {
    trycmd::TestCases::new()
        .register_bin("keepgate", crate::harness::binary())
        .case("tests/cmd/*.toml")
        .run();
}
