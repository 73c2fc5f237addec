//! The jailer as a process of its own: real jails, real roots, hostile files, and a test in the
//! keeper's place. What the other roles may not do is here too, because the same module of the
//! product takes it from them.

mod ahead;
mod canary;
mod cgroups;
mod confined;
pub(crate) mod driver;
mod escape;
mod files;
pub(crate) mod foreign;
mod foreign_layers;
mod layers;
mod life;
mod observed;
mod orders;
mod ordinary;
mod pins;
mod programs;
mod publish;
mod reserve;
mod unusable;

use driver::{Jailer, start};

#[test]
fn the_self_test_passes_and_is_told_first() {
    let jailer = Jailer::new();
    assert_eq!(jailer.test.succeeded, [""; 0]);
    assert!(jailer.test.attempted >= 100, "{}", jailer.test.attempted);
    assert!(jailer.test.landlock_abi >= 6, "{:?}", jailer.test);
    assert_eq!(jailer.test.separation, "separate uids");
    // What it lacks it says, and serves: rlimits are there all the same.
    assert_eq!(jailer.test.degraded, [keepgate::jail::NO_CGROUPS]);
}

#[test]
fn root_without_a_uid_for_tools_is_refused() {
    let why = start(|setup| setup.jail_users = None).err().unwrap();
    assert!(why.contains("uids of their own"), "{why}");
}
