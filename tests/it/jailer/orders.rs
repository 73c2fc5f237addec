//! Orders as a keeper gives them.

use std::fs::File;
use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use keepgate::call::id::Id;
use keepgate::wire::frame::{self, Frame, sealed_memfd};
use keepgate::wire::messages::{
    FileOrder, FileState, JailEnd, JailFault, JailerToKeeper, KeeperToJailer, Limits, OpenAs,
};

use super::driver::{Jailer, OWNER};

/// Limits no honest tool meets.
pub(super) const LIMITS: Limits = Limits {
    wall_ms: 20_000,
    cpu_s: 5,
    memory: 512 << 20,
    file: 8 << 20,
};

/// Class and detail of an order that was not carried out.
pub(super) type Refused = (JailFault, String);

/// SHA-256 in lower-case hex.
pub(super) fn digest(bytes: &[u8]) -> String {
    keepgate::wire::text::hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

/// The state of a file with `content` and permission bits.
pub(super) fn present(content: &[u8], mode: u32) -> FileState {
    FileState::Present {
        len: u64::try_from(content.len()).unwrap(),
        sha256: digest(content),
        mode,
    }
}

/// Where output goes that nobody reads.
pub(super) fn null() -> File {
    File::options().write(true).open("/dev/null").unwrap()
}

impl Jailer {
    /// A file to be opened as the root's owner.
    pub(super) fn order(&self, path: &str, open: OpenAs) -> FileOrder {
        FileOrder {
            root: self.root.path().to_str().unwrap().into(),
            path: path.into(),
            open,
            uid: Some(OWNER),
            gid: Some(OWNER),
        }
    }

    /// Says something.
    pub(super) fn say(&self, say: &KeeperToJailer, blob: &[u8], fds: &[BorrowedFd<'_>]) {
        frame::send(self.link.as_fd(), say, blob, fds).unwrap();
    }

    /// The next message.
    pub(super) fn hear(&self) -> Frame<JailerToKeeper> {
        let heard = frame::recv(self.link.as_fd(), 0).unwrap();
        heard.unwrap_or_else(|| panic!("the jailer closed its link"))
    }

    /// The end of a jail, which must be the next message.
    pub(super) fn hear_end(&self, ticket: Id) -> Result<JailEnd, Refused> {
        let said = self.hear().say;
        let (of, end) = match said {
            JailerToKeeper::Exited { ticket, end } => (ticket, Ok(end)),
            JailerToKeeper::Fault {
                ticket,
                fault,
                detail,
            } => (ticket, Err((fault, detail))),
            JailerToKeeper::SelfTest { .. }
            | JailerToKeeper::Inspected { .. }
            | JailerToKeeper::Published { .. }
            | JailerToKeeper::Altered { .. }
            | JailerToKeeper::Listening { .. } => panic!("{said:?}"),
        };
        assert_eq!(of, ticket);
        end
    }

    /// Starts a tool.
    pub(super) fn spawn(
        &self,
        tool: &str,
        input: impl AsFd,
        output: impl AsFd,
        files: Vec<FileOrder>,
        limits: Limits,
    ) -> Id {
        let ticket = Id::random().unwrap();
        let say = KeeperToJailer::Spawn {
            ticket,
            tool: tool.into(),
            limits,
            files,
            stream: false,
        };
        let errors = null();
        self.say(&say, &[], &[input.as_fd(), output.as_fd(), errors.as_fd()]);
        ticket
    }

    /// Starts a tool that waits for its input for ever, which is the life of what is returned.
    pub(super) fn wait_in_jail(&self, limits: Limits) -> (Id, impl Drop + use<>) {
        let (input, hold) = std::io::pipe().unwrap();
        let ticket = self.spawn("file.read", input, null(), vec![], limits);
        (ticket, OwnedFd::from(hold))
    }

    /// Runs a tool to its end: ticket, end or fault, output.
    pub(super) fn run(
        &self,
        tool: &str,
        input: &str,
        files: Vec<FileOrder>,
    ) -> (Id, Result<JailEnd, Refused>, String) {
        let input = sealed_memfd("in", input.as_bytes()).unwrap();
        let (mut read, write): (PipeReader, _) = std::io::pipe().unwrap();
        let ticket = self.spawn(tool, input, &write, files, LIMITS);
        drop(write);
        let mut output = String::new();
        read.read_to_string(&mut output).unwrap();
        (ticket, self.hear_end(ticket), output)
    }

    /// What an order with this file, which no tool looks at, fails with.
    pub(super) fn refusal(&self, files: Vec<FileOrder>) -> JailFault {
        self.run("noop", "", files).1.unwrap_err().0
    }

    /// Reads a text file with the tool.
    pub(super) fn read(&self, path: &str) -> Result<String, JailFault> {
        let order = serde_json::json!({"arguments": {"path": path}, "mode": "live"});
        let files = vec![self.order(path, OpenAs::Read)];
        let (_, end, output) = self.run("file.read", &order.to_string(), files);
        let end = end.map_err(|(fault, _)| fault)?;
        assert_eq!(end.code, Some(0), "{end:?} {output}");
        let value: serde_json::Value = serde_json::from_str(&output).unwrap();
        let text = value["value"]["text"].as_str();
        Ok(text.unwrap_or_else(|| panic!("{output}")).into())
    }

    /// Writes an unnamed file with the tool; ticket and output.
    pub(super) fn write(&self, path: &str, content: &str, absent: bool) -> (Id, String) {
        let order = serde_json::json!({
            "arguments": {"path": path, "content": content},
            "mode": "live",
            "absent": absent,
        });
        let files = vec![self.order(path, OpenAs::Replace)];
        let (ticket, end, output) = self.run("file.write", &order.to_string(), files);
        assert_eq!(end.unwrap().code, Some(0), "{output}");
        (ticket, output)
    }

    /// Gives an order and waits for the answer.
    pub(super) fn ask(
        &self,
        say: &KeeperToJailer,
        blob: &[u8],
    ) -> Result<Frame<JailerToKeeper>, Refused> {
        self.say(say, blob, &[]);
        let frame = self.hear();
        if let JailerToKeeper::Fault { fault, detail, .. } = frame.say {
            return Err((fault, detail));
        }
        Ok(frame)
    }

    /// What a file is; the copy that comes with it must be what the digest says.
    pub(super) fn inspect(&self, path: &str) -> Result<FileState, JailFault> {
        let say = KeeperToJailer::Inspect {
            ticket: Id::random().unwrap(),
            file: self.order(path, OpenAs::Read),
            max: 1 << 20,
        };
        let frame = self.ask(&say, &[]).map_err(|(fault, _)| fault)?;
        let JailerToKeeper::Inspected { state, .. } = frame.say else {
            panic!("{:?}", frame.say)
        };
        if let FileState::Present { sha256, .. } = &state {
            let [copy] = <[OwnedFd; 1]>::try_from(frame.fds).unwrap();
            assert_eq!(digest(&frame::read_sealed(copy, 1 << 20).unwrap()), *sha256);
        }
        Ok(state)
    }

    /// Gives an unnamed file its name.
    pub(super) fn publish(
        &self,
        ticket: Id,
        expected: FileState,
        content: &[u8],
    ) -> Result<(), Refused> {
        let sha256 = digest(content);
        let say = KeeperToJailer::Publish {
            ticket,
            expected,
            sha256,
        };
        self.ask(&say, &[]).map(drop)
    }

    /// Puts back what was there.
    pub(super) fn restore(
        &self,
        path: &str,
        expected: FileState,
        becomes: FileState,
        content: &[u8],
    ) -> Result<(), JailFault> {
        let say = KeeperToJailer::Restore {
            ticket: Id::random().unwrap(),
            file: self.order(path, OpenAs::Replace),
            expected,
            becomes,
        };
        self.ask(&say, content)
            .map(drop)
            .map_err(|(fault, _)| fault)
    }
}
