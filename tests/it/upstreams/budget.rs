//! How much processor time a server has: more than its manifest's `cpu_s` in its whole life, and not
//! much more at once.

use keepgate::keeper::upstreams::Failure;
use serde_json::json;

use super::world::{World, server, shown};

/// Of its manifest.
const CPU_S: u64 = 1;
/// What a call uses, in seconds: a quarter of the time it takes, at most.
const BURNT: f64 = 0.1;
const REST: f64 = 0.3;
const CALLS: usize = 16;

#[test]
fn many_calls_may_use_more_than_one_and_one_that_spins_is_ended() {
    let world = World::new(vec![shown(|manifest| manifest.limits.cpu_s = CPU_S)]);
    let server = server("good", |_| {});
    // How often this process was asked for that.
    let count = |world: &World| world.text("a", &server, "count", &json!({}))[2].clone();
    assert_eq!(count(&world), 1);
    let mut used = 0.0;
    for _ in 0..CALLS {
        let order = json!({"cpu": BURNT, "rest": REST});
        let told = world.text("a", &server, "wait", &order);
        used = told.as_f64().unwrap();
    }
    assert!(used > 1.5, "{used}");
    assert_eq!(count(&world), 2, "it is the same process all the time");
    assert!(world.ears.ended.lock().unwrap().is_empty());

    let spin = json!({"cpu": 3600, "rest": 0});
    let failed = world.call("a", &server, "wait", &spin).unwrap_err();
    assert!(matches!(failed, Failure::Lost(_)), "{failed:?}");
    crate::harness::eventually("its end is told", || {
        !world.ears.ended.lock().unwrap().is_empty()
    });
    {
        let ended = world.ears.ended.lock().unwrap();
        let end = ended[0].jail.as_ref().unwrap();
        assert_eq!(end.limit.as_deref(), Some("cpu"), "{ended:?}");
        assert!(end.cpu_us > 1_500_000, "{ended:?}");
        assert!(ended[0].why.contains("its limit `cpu`"), "{ended:?}");
    }
    // The next one begins with a full reserve.
    assert_eq!(count(&world), 1);
}
