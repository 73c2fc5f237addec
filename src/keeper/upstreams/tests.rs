//! The pool without roles: who gets which server, and when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Offered;
use super::plan::{Launch, Server};
use super::pool::{Key, Pool, State, Turn, Without};
use crate::call::id::Id;
use crate::wire::manifest::{Class, Destination, Manifest};
use crate::wire::messages::{Era, Passing, UpstreamLimits};

fn server(digest: &str, net: bool) -> Arc<Server> {
    let mut manifest = Manifest::of(Class::Foreign);
    if net {
        manifest.net.push(Destination {
            host: "a.example".into(),
            port: 443,
            private: Vec::new(),
        });
    }
    Arc::new(Server {
        name: "s".into(),
        digest: digest.into(),
        secrets: String::new(),
        launch: Launch::Jailed {
            manifest: Box::new(manifest),
            program: "/bin/true".into(),
            argv: Vec::new(),
        },
        limits: UpstreamLimits::default(),
        allow: Passing::default(),
        idle: Duration::from_secs(60),
        tools: BTreeMap::new(),
        beside: None,
    })
}

fn offered() -> Offered {
    Offered {
        era: Era::Session,
        version: "2025-11-25".into(),
        json: "{}".into(),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(20)
}

/// Starts a server and says it is open.
fn open(pool: &Pool, agent: &str, server: &Arc<Server>) -> (Key, Id) {
    let key = Key::of(agent, server, Era::Stateless);
    let Turn::Start(id) = pool.turn(&key, server, soon(), true).unwrap() else {
        panic!("it runs already")
    };
    pool.opened(&key, id, offered());
    (key, id)
}

fn used(pool: &Pool, key: &Key, server: &Arc<Server>) -> Option<Id> {
    match pool.turn(key, server, soon(), true) {
        Ok(Turn::Use(using)) => Some(using.upstream),
        Ok(Turn::Start(_)) | Err(_) => None,
    }
}

#[test]
fn each_agent_pin_and_set_of_secrets_has_its_own() {
    let pool = Pool::default();
    let one = server("1", false);
    let (a, first) = open(&pool, "a", &one);
    let (b, second) = open(&pool, "b", &one);
    let (_, third) = open(&pool, "a", &server("2", false));
    let secret = Arc::new(Server {
        secrets: "mail".into(),
        ..(*one).clone()
    });
    let (_, fourth) = open(&pool, "a", &secret);
    let all = std::collections::BTreeSet::from([first, second, third, fourth]);
    assert_eq!(all.len(), 4);
    assert_eq!(
        (used(&pool, &a, &one), used(&pool, &b, &one)),
        (Some(first), Some(second))
    );
}

#[test]
fn a_server_with_a_way_out_answers_one_at_a_time() {
    let pool = Pool::default();
    for (net, digest) in [(false, "1"), (true, "2")] {
        let server = server(digest, net);
        let (key, id) = open(&pool, "a", &server);
        let Ok(Turn::Use(using)) = pool.turn(&key, &server, soon(), true) else {
            panic!()
        };
        let second = pool.turn(&key, &server, soon(), true);
        assert_eq!(matches!(second, Err(Without::Unavailable(_))), net);
        drop((second, using));
        assert_eq!(used(&pool, &key, &server), Some(id));
    }
}

#[test]
fn what_failed_rests_and_what_rests_long_is_not_waited_for() {
    let pool = Pool::default();
    let server = server("1", false);
    let key = Key::of("a", &server, Era::Stateless);
    for failures in 1..=8 {
        let begun = Instant::now() + Duration::from_secs(600);
        if failures > 1 {
            // The pause is over.
            pool.known().entries.get_mut(&key).unwrap().state = State::Resting(Instant::now());
        }
        let Ok(Turn::Start(_)) = pool.turn(&key, &server, begun, true) else {
            panic!()
        };
        pool.ended(&key, Some("it crashed".into()));
    }
    // Two seconds and more by now.
    let far = Instant::now() + Duration::from_secs(600);
    let without = pool.turn(&key, &server, far, true).unwrap_err();
    assert_eq!(without, Without::Unavailable("it crashed".into()));
    let without = pool.turn(&key, &server, far, false).unwrap_err();
    assert_eq!(without, Without::Unavailable("it crashed".into()));
    // In order is no failure.
    pool.ended(&key, None);
    assert!(matches!(
        pool.turn(&key, &server, soon(), true),
        Ok(Turn::Start(_))
    ));
}

#[test]
fn one_agent_cannot_have_all_servers_and_all_is_not_endless() {
    let pool = Pool::default();
    let full = |agent: &str| {
        let begun = (0..1000).find(|n| {
            let server = server(&n.to_string(), false);
            pool.turn(
                &Key::of(agent, &server, Era::Stateless),
                &server,
                soon(),
                true,
            )
            .is_err()
        });
        begun.unwrap()
    };
    assert_eq!(full("greedy"), 16);
    assert_eq!((1..=4).map(|n| full(&format!("a{n}"))).sum::<u32>(), 64);
    assert_eq!(full("late"), 0);
}

#[test]
fn quarantine_is_for_every_agent_and_for_good() {
    let pool = Pool::default();
    let server = server("1", false);
    let (a, first) = open(&pool, "a", &server);
    let (b, second) = open(&pool, "b", &server);
    let mut ended = pool.quarantine("1", "its tools differ");
    ended.sort();
    let mut both = vec![first, second];
    both.sort();
    assert_eq!(ended, both);
    pool.ended(&a, None);
    pool.opened(&b, second, offered());
    for key in [a, b] {
        let without = pool.turn(&key, &server, soon(), true).unwrap_err();
        assert_eq!(without, Without::Quarantined("its tools differ".into()));
    }
}

#[test]
fn only_what_is_idle_retires() {
    let pool = Pool::default();
    let server = server("1", false);
    let (key, id) = open(&pool, "a", &server);
    let Ok(Turn::Use(using)) = pool.turn(&key, &server, soon(), true) else {
        panic!()
    };
    assert_eq!(pool.idle(&key), None);
    assert!(!pool.retire(&key, id, Duration::ZERO));
    drop(using);
    assert!(pool.idle(&key).is_some());
    assert!(!pool.retire(&key, id, Duration::from_secs(60)));
    assert!(pool.retire(&key, id, Duration::ZERO));
    // Nobody begins to use what is about to end.
    assert_eq!(used(&pool, &key, &server), None);
}

#[test]
fn an_agent_that_is_no_more_has_no_servers() {
    let pool = Pool::default();
    let server = server("1", false);
    let (key, id) = open(&pool, "a", &server);
    open(&pool, "b", &server);
    assert_eq!(pool.end_those(|key| key.agent == "a"), [id]);
    assert_eq!(pool.idle(&key), Some(Duration::MAX));
    assert!(pool.retire(&key, id, Duration::from_secs(600)));
    pool.ended(&key, None);
    assert_eq!(pool.end_those(|key| key.agent == "a"), []);
    assert_eq!(pool.known().entries.len(), 1);
}

#[test]
fn what_a_pin_spoke_is_remembered_until_it_is_doubted() {
    let pool = Pool::default();
    let modern = Key::of("a", &server("1", false), Era::Stateless);
    assert_eq!(pool.era(&modern), None);
    pool.doubt(&modern);
    assert_eq!(pool.era(&modern), Some(Era::Session));
    pool.doubt(&modern);
    assert_eq!(pool.era(&modern), None);
    // Each client's era has its own memory, and begins with itself.
    let old = Key::of("a", &server("1", false), Era::Session);
    assert_eq!(pool.era(&old), Some(Era::Session));
    pool.doubt(&old);
    assert_eq!(pool.era(&old), Some(Era::Stateless));
    pool.doubt(&old);
    assert_eq!(pool.era(&old), Some(Era::Session));
}

#[test]
fn an_era_with_other_tools_is_shunned_once_and_only_the_one_not_vetted() {
    let pool = Pool::default();
    let server = server("1", false);
    let (old, modern) = (
        Key::of("a", &server, Era::Session),
        Key::of("a", &server, Era::Stateless),
    );
    assert!(!pool.shun(&modern));
    assert!(pool.shun(&old));
    assert_eq!(pool.era(&old), Some(Era::Stateless));
    assert!(!pool.shun(&old));
}
