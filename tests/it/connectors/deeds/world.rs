//! An appliance with a connector that makes things, and what its server says it did.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Appliance, OWNER, Session};

/// What the operator declares.
const DECLARED: &str = r#"
[tools.create]
class = "write"
reversibility = "reversible"
dry_run = { arguments = { dry = true } }
undo = { tool = "remove", arguments = { id = "result:/id" } }
[tools.create.parameters]
name = { role = "target", kind = "path" }
note = { role = "content" }
[tools.create.outputs]
"/id" = "trusted"
[tools.make]
class = "write"
reversibility = "reversible"
dry_run = { tool = "preview" }
undo = { tool = "remove", arguments = { id = "result:/id" } }
[tools.keep]
class = "write"
reversibility = "reversible"
undo = { tool = "remove", arguments = { id = "arguments:/id" } }
[tools.preview]
class = "read"
reversibility = "reversible"
[tools.remove]
class = "destructive"
reversibility = "reversible"
undo = { tool = "create", arguments = { name = "result:/name" } }
[tools.pay]
class = "send"
reversibility = "mitigable"
undo = { tool = "refund", arguments = { to = "arguments:/to" } }
high_value = { parameter = "amount", above = 100 }
[tools.pay.parameters]
to = { role = "target", kind = "iban" }
amount = { role = "amount" }
reference = { role = "content" }
[tools.find]
class = "read"
reversibility = "reversible"
[tools.find.parameters]
who = { role = "target", kind = "email" }
[tools.find.outputs]
"/id" = "trusted"
"#;
pub(super) const IBAN: &str = "DE89370400440532013000";

/// An appliance with the connector `things`, which `bot` may use.
pub(super) struct World {
    pub(super) appliance: Appliance,
    pub(super) place: PathBuf,
}

impl World {
    pub(super) fn new(mode: &str) -> Self {
        Self::with(mode, "")
    }

    /// With `extra` in the configuration, and in it for an agent `web`, too.
    pub(super) fn with(mode: &str, extra: &str) -> Self {
        let appliance = Appliance::init(extra);
        let dir = appliance.directory.path().canonicalize().unwrap();
        let (server, place) = (dir.join("server"), dir.join("things"));
        for one in [&server, &place] {
            fs::create_dir(one).unwrap();
            fs::set_permissions(one, fs::Permissions::from_mode(0o755)).unwrap();
        }
        chown(&place, Some(OWNER), Some(OWNER)).unwrap();
        let fakes = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fakes");
        for name in ["mcp.py", "things.py"] {
            fs::copy(fakes.join(name), server.join(name)).unwrap();
            fs::set_permissions(server.join(name), fs::Permissions::from_mode(0o644)).unwrap();
        }
        let (program, at) = (server.join("things.py"), place.to_str().unwrap());
        let program = program.to_str().unwrap();
        appliance.must(&[
            "connector",
            "import",
            "things",
            "--rw",
            at,
            "--",
            "/usr/bin/python3",
            program,
            at,
        ]);
        let manifest = appliance.path("connectors/things.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        let before = text.split("[tools.").next().unwrap();
        fs::write(&manifest, format!("{before}{DECLARED}")).unwrap();
        let config = appliance.path("keepgate.toml");
        let text = fs::read_to_string(&config).unwrap();
        let text =
            format!("{text}\n[planes.production.connectors.things]\nagents = [\"bot\", \"web\"]\n");
        fs::write(config, text).unwrap();
        let world = Self { appliance, place };
        world.approve();
        let Self {
            mut appliance,
            place,
        } = world;
        appliance.serve();
        appliance.enrol("bot");
        appliance.policy("permit (principal, action, resource);\n");
        appliance.must(&["mode", mode]);
        Self { appliance, place }
    }

    pub(super) fn approve(&self) {
        let vetted = self.appliance.cli(&["connector", "vet", "things"]);
        assert!(matches!(vetted.status.code(), Some(0 | 3)), "{vetted:?}");
        self.appliance
            .must(&["connector", "approve", "things", "--by", "alice"]);
    }

    pub(super) fn session(&self) -> Session {
        self.appliance.session("bot")
    }

    /// Calls of that tool that reached the server.
    pub(super) fn journal(&self, tool: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.place.join("journal")).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.filter(|line: &Value| line["tool"] == tool).collect()
    }

    pub(super) fn has(&self, thing: &str) -> bool {
        self.place.join(thing).exists()
    }

    /// The newest entry of that kind about the tool.
    pub(super) fn last(&self, kind: &str, tool: &str) -> Value {
        let all = self.appliance.entries(kind);
        let mut own = all
            .into_iter()
            .filter(|entry| entry["body"]["tool"] == tool);
        own.next_back()
            .unwrap_or_else(|| panic!("no {kind} of {tool}"))
    }

    /// Makes a thing, and gives the number of the intent.
    pub(super) fn create(&self, session: &mut Session, name: &str) -> u64 {
        let made = session.call("things__create", json!({"name": name}));
        assert_ne!(
            made["isError"],
            true,
            "{made}\n{}",
            self.appliance.diagnostics()
        );
        assert!(self.has(name));
        self.last("call.intent", "things.create")["seq"]
            .as_u64()
            .unwrap()
    }

    pub(super) fn undo(&self, seq: u64) -> Value {
        self.appliance.must(&["undo", &seq.to_string(), "--yes"])
    }

    /// It is refused, in these words.
    #[track_caller]
    pub(super) fn undo_refused(&self, seq: u64, code: i32, words: &str) {
        let done = self.appliance.cli(&["undo", &seq.to_string(), "--yes"]);
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{said}");
        assert!(said.contains(words), "{said}");
        assert!(said.contains("hint: "), "{said}");
    }
}
