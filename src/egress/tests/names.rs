//! Names: resolved once, every address checked, a checked one dialled.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use super::fakes::{dns, says, serve};
use super::world::{Call, World, rule};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_name_is_resolved_once_and_its_address_dialled() {
    let dns = dns(|name, _| {
        if name == "kg.test." {
            vec![ip("127.0.0.1")]
        } else {
            vec![]
        }
    });
    let server = says(OK);
    let world = World::start(vec![dns.address.clone()], Vec::new());
    let url = format!("http://kg.test:{}/", server.address.port());
    let (result, hops) = world.call(&Call::get(&url));
    assert_eq!(result.unwrap()["status"], 200);
    assert_eq!(hops[0].address, Some(server.address.to_string()));
    assert_eq!(dns.asked.load(Ordering::SeqCst), 1);
    let host = format!("host: kg.test:{}\r\n", server.address.port());
    assert!(server.requests.recv().unwrap().contains(&host));
    let (class, why) = world.fault(&Call::get("http://other.test/"));
    assert_eq!(class, "name_not_resolved", "{why}");
}

/// The first answer is harmless, the second is not: whoever asks twice and checks the first only is
/// lost. Here every request is checked by the answer it dials.
#[test]
fn a_name_that_changes_its_address_gains_nothing() {
    let dns = dns(|_, number| {
        vec![ip(if number == 0 {
            "127.0.0.1"
        } else {
            "127.0.0.2"
        })]
    });
    let server =
        serve(|_| b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n".to_vec());
    let world = World::start(vec![dns.address.clone()], Vec::new());
    let mut call = Call::get(&format!("http://kg.test:{}/", server.address.port()));
    call.rules[0].private = vec!["127.0.0.1/32".into()];
    let (result, hops) = world.call(&call);
    assert_eq!(result.unwrap_err().class, "address_refused");
    assert_eq!(
        (hops[0].status, hops[0].address.as_deref()),
        (Some(302), Some(server.address.to_string().as_str()))
    );
    assert_eq!((hops[1].status, hops[1].address.as_deref()), (None, None));
    assert!(
        hops[1]
            .fault
            .as_deref()
            .unwrap()
            .starts_with("127.0.0.2 is loopback")
    );
    assert_eq!(dns.asked.load(Ordering::SeqCst), 2);
}

#[test]
fn private_answers_are_refused_in_every_form() {
    let answers = [
        "10.1.2.3",
        "127.0.0.1",
        "169.254.169.254",
        "192.168.0.1",
        "0.0.0.0",
        "100.64.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "fd00:ec2::254",
        "fe80::1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ];
    let dns = dns(move |name, _| {
        let number: usize = name
            .trim_end_matches(".test.")
            .trim_start_matches('n')
            .parse()
            .unwrap();
        vec![ip(answers[number])]
    });
    let world = World::start(vec![dns.address.clone()], Vec::new());
    for (number, answer) in answers.iter().enumerate() {
        let mut call = Call::get(&format!("http://n{number}.test/"));
        call.rules[0].private.clear();
        let (class, why) = world.fault(&call);
        assert_eq!(class, "address_refused", "{answer} {why}");
    }
}

#[test]
fn of_many_addresses_only_the_permitted_are_dialled() {
    let dns = dns(|_, _| {
        vec![
            ip("10.1.2.3"),
            ip("127.0.0.9"),
            ip("127.0.0.1"),
            ip("192.168.1.1"),
        ]
    });
    let server = says(OK);
    let world = World::start(vec![dns.address.clone()], Vec::new());
    let mut call = Call::get(&format!("http://kg.test:{}/", server.address.port()));
    call.rules[0].private = vec!["127.0.0.1".into()];
    let (result, hops) = world.call(&call);
    assert_eq!(result.unwrap()["status"], 200);
    assert_eq!(hops[0].address, Some(server.address.to_string()));
}

#[test]
fn neither_hosts_file_nor_search_domain_nor_local_name_is_a_way_in() {
    let names = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = std::sync::Arc::clone(&names);
    let dns = dns(move |name, _| {
        seen.lock().unwrap().push(name.to_owned());
        Vec::new()
    });
    let world = World::start(vec![dns.address.clone()], Vec::new());
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap()
        .trim()
        .to_lowercase();
    let url = format!("http://{own}/");
    assert_eq!(world.fault(&Call::get(&url)).0, "name_not_resolved");
    assert!(
        names
            .lock()
            .unwrap()
            .iter()
            .all(|name| *name == format!("{own}."))
    );
    let mut call = Call::get("http://localhost/");
    call.rules = vec![rule("http://localhost/")];
    call.rules[0].private.clear();
    assert_eq!(world.fault(&call).0, "address_refused");
}

#[test]
fn without_resolver_only_addresses_are_reached() {
    let (class, why) = World::plain().fault(&Call::get("http://kg.test/"));
    assert_eq!(
        (class.as_str(), why.contains("no resolver")),
        ("name_not_resolved", true)
    );
}

#[test]
fn a_resolver_that_is_silent_costs_no_more_than_the_lease() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let world = World::start(vec![silent.local_addr().unwrap().to_string()], Vec::new());
    let call = Call {
        wall_ms: 200,
        ..Call::get("http://kg.test/")
    };
    assert_eq!(world.fault(&call).0, "timed_out");
}
