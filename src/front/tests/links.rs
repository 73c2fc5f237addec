//! The keeper and the supervisor come and go.

use serde_json::json;

use super::{Rig, chatty, first_of};
use crate::wire::frame;
use crate::wire::messages::{Control, FrontToKeeper, KeeperToFront};

#[test]
fn a_dead_keeper_is_said_and_a_new_one_serves() {
    let mut rig = Rig::new(chatty());
    let mut agent = rig.session();
    agent.call(1, "{}");
    rig.opened();
    // One way to die leaves an unread question behind, which the kernel tells as a reset.
    agent.call(2, "{}");
    assert!(first_of(&rig.keeper, &rig.keeper));
    let (gone, _) = frame::pair().unwrap();
    rig.keeper = gone;
    let mut lost = vec![agent.fault(), agent.fault()];
    lost.sort_by_key(|(id, ..)| id.as_u64());
    let why = "the keeper is not available any more; whether the call took effect is unknown";
    assert_eq!(
        lost,
        [
            (json!(1), -32603, why.into()),
            (json!(2), -32603, why.into())
        ]
    );
    agent.call(4, "{}");
    let why = "the keeper is not available; nothing was done";
    assert_eq!(agent.fault(), (json!(4), -32603, why.into()));

    rig.link();
    // The supervisor's word travels on another socket than the agent's: ask until it has come.
    let mut id = 5;
    let answered = loop {
        agent.call(id, "{}");
        if first_of(&rig.keeper, &agent.stream) {
            break rig.opened().0;
        }
        assert_eq!(agent.fault().1, -32603);
        id += 1;
    };
    rig.reply(&KeeperToFront::Answer { id: answered }, b"{}");
    assert_eq!(agent.hear()["id"], id);

    // A second link replaces a living one.
    agent.call(100, "{}");
    rig.opened();
    rig.link();
    assert_eq!(agent.fault().0, 100);
    rig.stop();
}

#[test]
fn a_keeper_that_misbehaves_ends_the_role() {
    let rig = Rig::new(chatty());
    nix::unistd::write(&rig.keeper, b"\x07nonsense").unwrap();
    let error = rig.front.join().unwrap().unwrap_err();
    assert!(error.message().contains("bad frame"), "{error}");
}

#[test]
fn a_stop_lets_calls_in_flight_end() {
    let rig = Rig::new(chatty());
    let mut agent = rig.session();
    agent.call(1, "{}");
    let (id, _) = rig.opened();
    rig.tell(&Control::Stop, None);
    let refused = loop {
        agent.say(r#"{"jsonrpc":"2.0","id":"x","method":"tools/list"}"#);
        match rig.asked() {
            (FrontToKeeper::List { id, .. }, _) => {
                rig.reply(&KeeperToFront::Listed { id }, b"[]");
                agent.hear();
            }
            (FrontToKeeper::Malformed { why, .. }, _) => break why,
            (other, _) => panic!("{other:?}"),
        }
    };
    assert_eq!(refused, "keepgate is stopping");
    assert_eq!(agent.fault().2, "keepgate is stopping");
    rig.reply(&KeeperToFront::Answer { id }, b"{}");
    assert_eq!(agent.hear()["id"], 1);
    rig.front.join().unwrap().unwrap();
    assert!(agent.is_closed());
}
