//! `status`: the plane on one screen.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::keeper::Keeper;
use crate::time::Clock;
use crate::wire::text::hex;

impl Keeper {
    pub(super) fn status(&self) -> Value {
        let links = self.hands.links();
        let up: Vec<&str> = links
            .up()
            .into_iter()
            .map(crate::wire::messages::Role::name)
            .collect();
        let fitness = links.fitness();
        let head = self.log.head();
        let blocked = self.log.blocked();
        let open = self.open.load(Ordering::Acquire);
        let fit = fitness.as_ref().is_some_and(|fitness| fitness.fit);
        let mut degraded: Vec<String> = fitness
            .as_ref()
            .map(|f| f.report.degraded.clone())
            .unwrap_or_default();
        if self.setup.one_user() {
            degraded.push("one-user".into());
        }
        let connectors = self.connectors_status();
        let limits = self.limits_status();
        let runtimes = self.runtimes_status();
        let trouble = self.rules().engine().trouble().map(str::to_owned);
        let state = self.state();
        let uptime = self
            .clock
            .now()
            .as_micros()
            .saturating_sub(self.started.as_micros());
        json!({
            "plane": self.setup.plane,
            "version": env!("CARGO_PKG_VERSION"),
            "mode": state.mode.mode().name(),
            "since": state.mode.since(),
            "demo": state.demo,
            "separation": self.setup.separation,
            "policy": state.policy.as_ref().map(|policy| json!({
                "digest": policy.digest, "file": policy.file, "applied": policy.since, "trouble": trouble,
            })),
            "agents": state.agents.len(),
            "connectors": connectors,
            "log": {
                "size": head.size,
                "root": hex(&head.root),
                "blocked": blocked,
            },
            "jailer": fitness.map(|fitness| json!({"fit": fitness.fit, "self_test": fitness.report})),
            "links": up,
            "limits": limits,
            "runtimes": runtimes,
            "in_flight": self.seats.taken(),
            "upstreams": self.upstreams.status(),
            "unknown": {"calls": state.unknown.iter().map(|(call, seq)| json!({"request": call, "seq": seq})).collect::<Vec<_>>(), "total": state.unknown_total},
            "degraded": degraded,
            "accepted": self.setup.accept,
            "serving": fit && open && blocked.is_none() && trouble.is_none(),
            "uptime_s": uptime / 1_000_000,
        })
    }
}
