//! How servers start, are shared, and end.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use keepgate::call::id::Id;
use keepgate::keeper::upstreams::{Failure, Heard, Question};
use keepgate::wire::manifest::Destination;
use keepgate::wire::messages::{Era, Offer, Passing};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::world::{World, server, server_of, shown};
use crate::harness::eventually;

/// Processes of that uid below this world's jailer; other tests have jails of the same users.
fn processes(world: &World, uid: &Value) -> Vec<i32> {
    let field = |text: &str, name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default();
        line.split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let status = |pid: &str| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let jailer = world.jailer().to_string();
    let below = |pid: &str| {
        let mut pid = pid.to_owned();
        while !pid.is_empty() && pid != jailer {
            pid = field(&status(&pid), "PPid:");
        }
        pid == jailer
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    let names = all.filter_map(|entry| entry.file_name().into_string().ok());
    let uid = uid.to_string();
    let own = names.filter(|pid| field(&status(pid), "Uid:") == uid && below(pid));
    own.filter_map(|pid| pid.parse().ok()).collect()
}

#[test]
fn a_server_of_both_eras_is_spoken_to_in_its_clients_where_it_is_what_was_approved() {
    let world = World::plain();
    let server_of = |mode: &str| server(mode, |_| {});
    let meta = |era, server| {
        let asks = ("echo", &json!({}));
        let answer = world.ask_in(era, "a", server, asks, &mut |_| {});
        answer.unwrap_or_else(|why| panic!("{why:?} {:?}", world.ears.ended))["arguments"].clone()
    };
    let version = "io.modelcontextprotocol/protocolVersion";
    let both = server_of("stateless");
    assert_eq!(meta(Era::Session, &both)[version], Value::Null);
    assert_eq!(meta(Era::Stateless, &both)[version], "2026-07-28");
    // One with other tools for old clients: those are not used, and nothing is held against it.
    let eras = server_of("eras");
    assert_eq!(meta(Era::Session, &eras)[version], "2026-07-28");
    assert_eq!(world.ears.differs.lock().unwrap().len(), 0);
    let ended = world.ears.ended.lock().unwrap();
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert!(ended[0].why.contains("not the approved ones"), "{ended:?}");
    drop(ended);
    // One that has other tools for everybody is found out by old clients too.
    let changed = server_of("changed");
    let asks = ("echo", &json!({}));
    let answer = world.ask_in(Era::Session, "b", &changed, asks, &mut |_| {});
    assert!(matches!(answer, Err(Failure::Quarantined(_))), "{answer:?}");
    // It is out of use before anybody is told.
    eventually("the difference is told", || {
        world.ears.differs.lock().unwrap().len() == 1
    });
}

#[test]
fn two_agents_never_share_a_process_and_one_agent_keeps_its_own() {
    let world = World::plain();
    let server = server("good", |_| {});
    let count = |agent: &str| world.text(agent, &server, "count", &json!({}));
    let (a, b) = (count("a"), count("b"));
    assert_ne!(a[0], b[0], "each jail has a user of its own");
    assert_eq!((&a[2], &b[2]), (&json!(1), &json!(1)));
    let again = count("a");
    assert_eq!((&again[0], &again[1], &again[2]), (&a[0], &a[1], &json!(2)));
    assert_eq!(world.status("a")["state"], "open");
    assert_eq!(world.status("b")["restarts"], 0);
    // Whoever is no more has no processes.
    world.upstreams.forget("a");
    eventually("the servers of an agent that is no more end", || {
        processes(&world, &a[0]).is_empty()
    });
    assert_eq!(count("b")[2], 2);
    let ended = world.ears.ended.lock().unwrap();
    assert!(ended.iter().all(|one| !one.failed), "{ended:?}");
}

#[test]
fn a_killed_server_is_started_again_after_a_pause() {
    let world = World::plain();
    let server = server("good", |_| {});
    let first = world.text("a", &server, "count", &json!({}));
    let pids = processes(&world, &first[0]);
    assert!(!pids.is_empty());
    for pid in pids {
        // Its first process takes the others with it.
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or_default();
    }
    eventually("its end is noticed", || {
        world.status("a")["state"] != "open"
    });
    let begun = Instant::now();
    let second = world.text("a", &server, "count", &json!({}));
    assert_eq!(second[2], 1);
    assert!(begun.elapsed() >= Duration::from_millis(100), "no pause");
    let status = world.status("a");
    assert_eq!(
        (&status["restarts"], &status["state"]),
        (&json!(1), &json!("open"))
    );
    let error = status["error"].as_str().unwrap();
    assert!(error.contains("ended its standard output"), "{error}");
}

#[test]
fn what_does_not_start_says_why_and_rests() {
    let world = World::plain();
    let server = server("crash", |_| {});
    let failure = world.call("a", &server, "count", &json!({})).unwrap_err();
    let Failure::Unavailable(why) = failure else {
        panic!("{failure:?}")
    };
    assert!(why.contains("exited with status 1"), "{why}");
    assert!(why.ends_with("its last words: nothing works here"), "{why}");
    let status = world.status("a");
    assert_eq!(
        (&status["starts"], &status["state"]),
        (&json!(2), &json!("resting"))
    );
    let missing = server_of(
        &["/nowhere/server"],
        server.tools.clone(),
        shown(|_| {}),
        |_| {},
    );
    let failure = world.call("b", &missing, "count", &json!({})).unwrap_err();
    assert!(
        matches!(&failure, Failure::Unavailable(why) if why.contains("execve")),
        "{failure:?}"
    );
    assert!(!failure.may_be_done());
}

#[test]
fn a_server_that_ends_when_asked_for_its_era_is_asked_otherwise() {
    let world = World::plain();
    let server = server("rude", |server| server.limits.start_ms = 20_000);
    assert_eq!(world.text("a", &server, "count", &json!({}))[2], 1);
    assert_eq!(world.status("a")["starts"], 2);
    // And at once for the next agent.
    assert_eq!(world.text("b", &server, "count", &json!({}))[2], 1);
    assert_eq!(world.status("b")["starts"], 1);
}

#[test]
fn both_eras_are_spoken() {
    let world = World::plain();
    let wall = Duration::from_secs(60);
    for (mode, era) in [("good", Era::Session), ("stateless", Era::Stateless)] {
        let server = server(mode, |_| {});
        let offered = world
            .upstreams
            .offered(&server, "a", Era::Stateless, wall)
            .unwrap();
        assert_eq!(offered.era, era);
        let answer = world.call("a", &server, "echo", &json!({"x": 1})).unwrap();
        match era {
            Era::Session => assert_eq!(answer["arguments"], json!({"x": 1})),
            Era::Stateless => {
                let version = &answer["arguments"]["io.modelcontextprotocol/protocolVersion"];
                assert_eq!(version, "2026-07-28", "{answer}");
            }
        }
    }
}

#[test]
fn what_nobody_asks_ends_in_order() {
    let world = World::plain();
    let server = server("good", |server| server.idle = Duration::from_millis(300));
    world.text("a", &server, "count", &json!({}));
    eventually("an idle server ends", || {
        world.status("a")["state"] == "stopped"
    });
    let ended = world.ears.ended.lock().unwrap();
    assert!(
        !ended[0].failed && ended[0].why.contains("nothing was asked"),
        "{ended:?}"
    );
    // Its standard input ended, and it went.
    assert_eq!(ended[0].jail.as_ref().unwrap().code, Some(0), "{ended:?}");
}

#[test]
fn other_tools_than_the_approved_ones_are_never_called() {
    let world = World::plain();
    let changed = server("changed", |_| {});
    let failure = world.call("a", &changed, "count", &json!({})).unwrap_err();
    let Failure::Quarantined(why) = failure else {
        panic!("{failure:?}")
    };
    assert!(why.contains("added `echo2`; missing `echo`"), "{why}");
    // Nor does another agent get it, and nothing is started for it.
    assert!(matches!(
        world.call("a", &changed, "count", &json!({})),
        Err(Failure::Quarantined(_))
    ));
    assert_eq!(world.status("a")["starts"], 1);
    // The same where they change while it runs.
    let server = server("good", |_| {});
    world.text("b", &server, "count", &json!({}));
    drop(world.call("b", &server, "change", &json!({})));
    eventually("a change is noticed", || {
        world.status("b")["state"] == "quarantined"
    });
    assert!(matches!(
        world.call("b", &server, "count", &json!({})),
        Err(Failure::Quarantined(_))
    ));
    let differs = world.ears.differs.lock().unwrap().clone();
    assert_eq!(differs.len(), 2, "{differs:?}");
    assert_eq!(*world.ears.changed.lock().unwrap(), [] as [Offer; 0]);
}

#[test]
fn progress_and_questions_of_the_server_find_their_call() {
    let world = World::plain();
    let server = server("good", |server| {
        server.allow = Passing {
            elicitation: true,
            ..Passing::default()
        };
    });
    let mut steps = Vec::new();
    let answer = world.ask("a", &server, "progress", &json!({}), &mut |heard| {
        let Heard::Notice { params, .. } = heard else {
            panic!()
        };
        let params: Value = serde_json::from_slice(&params).unwrap();
        steps.push(params["progress"].clone());
    });
    assert_eq!(answer.unwrap()["content"][0]["text"], "done");
    assert_eq!(steps, [1, 2]);
    let answer = world.ask("a", &server, "ask", &json!({}), &mut |heard| {
        let Heard::Asks {
            upstream,
            ask,
            method,
            params,
        } = heard
        else {
            panic!()
        };
        assert_eq!(method, "elicitation/create");
        assert_eq!(params, br#"{"message": "sure?"}"#);
        world
            .upstreams
            .reply(upstream, ask, true, br#"{"action":"decline"}"#);
    });
    let said = answer.unwrap()["content"][0]["text"].to_string();
    assert!(said.contains("decline"), "{said}");
    // Where the operator does not allow it, the agent is not asked.
    let refusing = super::world::server("good", |server| server.digest = "other".into());
    let answer = world.ask("b", &refusing, "ask", &json!({}), &mut |heard| {
        panic!("{heard:?}")
    });
    assert!(answer.unwrap().to_string().contains("-32601"));
}

#[test]
fn what_is_given_up_ends_at_once_and_the_server_is_told() {
    let world = World::plain();
    let server = server("good", |_| {});
    world.text("a", &server, "count", &json!({}));
    let ticket = Id::random().unwrap();
    let params = br#"{"name":"wait"}"#;
    let question = |wall| Question {
        agent: "a",
        era: Era::Stateless,
        ticket,
        method: "tools/call",
        params,
        wall,
        progress: false,
        effect: true,
        headers: &[],
    };
    let (upstreams, asked) = (world.upstreams.clone(), server.clone());
    std::thread::scope(|scope| {
        let (done, ended) = channel();
        scope.spawn(move || {
            let long = question(Duration::from_secs(600));
            done.send(upstreams.ask(&asked, long, &mut |_| {})).unwrap();
        });
        eventually("it is under way", || world.status("a")["calls"] == 1);
        // The question may be on its way still: what is not known is not given up.
        let failure = loop {
            world.upstreams.cancel(ticket);
            if let Ok(answer) = ended.recv_timeout(Duration::from_millis(20)) {
                break answer.unwrap_err();
            }
        };
        assert!(
            failure == Failure::Cancelled && failure.may_be_done(),
            "{failure:?}"
        );
    });
    let short = question(Duration::from_millis(50));
    let failure = world
        .upstreams
        .ask(&server, short, &mut |_| {})
        .unwrap_err();
    assert_eq!(failure, Failure::TimedOut);
    let seen = world.text("a", &server, "seen", &json!({}));
    let cancelled = seen.as_array().unwrap().iter();
    let cancelled = cancelled.filter(|one| *one == "notifications/cancelled");
    assert_eq!(cancelled.count(), 2, "{seen}");
}

#[test]
fn a_lost_egress_is_an_answer_too() {
    let world = World::plain();
    let server = server("good", |_| {});
    let uid = world.text("a", &server, "count", &json!({}))[0].clone();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| world.call("a", &server, "wait", &json!({})));
        eventually("it is under way", || world.status("a")["calls"] == 1);
        world.egress.kill();
        let failure = call.join().unwrap().unwrap_err();
        assert!(matches!(failure, Failure::Lost(_)), "{failure:?}");
    });
    eventually("its jail ends", || processes(&world, &uid).is_empty());
    let failure = world.call("a", &server, "count", &json!({})).unwrap_err();
    assert!(!failure.may_be_done(), "{failure:?}");
}

#[test]
fn a_server_goes_out_where_its_manifest_says_and_as_long_as_it_lives() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            drop(stream.read(&mut [0; 4096]));
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
            drop(stream.write_all(answer));
        }
    });
    let manifest = shown(|manifest| {
        manifest.limits.wall_ms = 1;
        manifest.net.push(Destination {
            host: "127.0.0.1".into(),
            port,
            private: vec!["127.0.0.0/8".into()],
        });
    });
    let world = World::new(vec![manifest.clone()]);
    let good = server("good", |_| {});
    let argv = ["/usr/bin/python3", "-I", &sources(), "good"];
    let server = server_of(&argv, good.tools.clone(), manifest, |_| {});
    let fetch = |url: String| world.text("a", &server, "fetch", &json!({"url": url}));
    assert_eq!(fetch(format!("http://127.0.0.1:{port}/")), "hello");
    let refused = fetch("http://127.0.0.1:9/".into());
    assert!(refused.as_str().unwrap().contains("403"), "{refused}");
    assert_eq!(fetch(format!("http://127.0.0.1:{port}/again")), "hello");
    world.upstreams.forget("a");
    eventually("it has ended", || {
        !world.ears.ended.lock().unwrap().is_empty()
    });
    let ended = world.ears.ended.lock().unwrap();
    let hops: Vec<_> = ended[0].hops.iter().map(|hop| hop.status).collect();
    assert_eq!(hops, [Some(200), Some(403), Some(200)], "{ended:?}");
}

fn sources() -> String {
    super::world::sources()
        .join("python/upstream.py")
        .display()
        .to_string()
}
