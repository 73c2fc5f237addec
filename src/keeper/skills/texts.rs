//! What of a skill is read: instructions and the files beside them. The jailer reads, because only it
//! sees the folder, and gives nothing but what has the approved digest.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::hands::answer;
use super::{Failure, Keeper, Skill};
use crate::call::id::Id;
use crate::catalog::connector::skill::resources::{INSTRUCTIONS, RESOURCE_MAX, kind};
use crate::catalog::connector::skill::{self, FILE_MAX};
use crate::wire::frame::read_sealed;
use crate::wire::messages::{JailFault, JailerToKeeper, KeeperToJailer, Role};

impl Keeper {
    /// The result of `prompts/get`: the instructions as one message of the user's.
    pub(super) fn instructions(&self, ticket: Id, skill: &Skill) -> Result<Vec<u8>, Failure> {
        let bytes = self.pinned(ticket, skill, Path::new(INSTRUCTIONS), FILE_MAX)?;
        let read = skill::Skill::parse(&bytes, INSTRUCTIONS);
        let read = read.map_err(|error| Failure::NotDone(error.message()))?;
        let result = json!({
            "description": read.description,
            "messages": [{"role": "user", "content": {"type": "text", "text": read.body}}],
        });
        Ok(result.to_string().into_bytes())
    }

    /// The result of `resources/read`: text where it is one, else base64.
    pub(super) fn resource(
        &self,
        ticket: Id,
        skill: &Skill,
        uri: &str,
        path: &Path,
    ) -> Result<Vec<u8>, Failure> {
        let bytes = self.pinned(ticket, skill, path, RESOURCE_MAX)?;
        let mut content = json!({"uri": uri, "mimeType": kind(path)});
        let (member, text) = match String::from_utf8(bytes) {
            Ok(text) => ("text", text),
            Err(error) => ("blob", STANDARD.encode(error.as_bytes())),
        };
        if let Some(members) = content.as_object_mut() {
            members.insert(member.into(), Value::from(text));
        }
        let result = json!({"contents": [content]});
        Ok(result.to_string().into_bytes())
    }

    /// A file of the skill's folder, where all of that is what was approved.
    fn pinned(&self, ticket: Id, skill: &Skill, path: &Path, max: u64) -> Result<Vec<u8>, Failure> {
        let not_done = |error: crate::error::Error| Failure::NotDone(error.message());
        let links = self.hands.links();
        let inbox = links.listen(ticket);
        let say = KeeperToJailer::ReadPinned {
            ticket,
            manifest: skill.jail.name.clone(),
            path: skill.folder.join(path).to_string_lossy().into_owned(),
            max,
        };
        links.send(Role::Jailer, &say, &[], &[]).map_err(not_done)?;
        let most = usize::try_from(max).unwrap_or(usize::MAX);
        match answer(&inbox).map_err(not_done)? {
            (JailerToKeeper::Inspected { .. }, mut fds) => match fds.pop() {
                Some(copy) => read_sealed(copy, most).map_err(not_done),
                None => Err(Failure::NotDone("the jailer gave no content".into())),
            },
            (JailerToKeeper::Altered { why, changes, .. }, _) => {
                let ran = false;
                Err(Failure::Altered { why, changes, ran })
            }
            (JailerToKeeper::Fault { fault, detail, .. }, _) => {
                Err(Failure::NotDone(format!("{}: {detail}", word(fault))))
            }
            (
                JailerToKeeper::SelfTest { .. }
                | JailerToKeeper::Exited { .. }
                | JailerToKeeper::Listening { .. }
                | JailerToKeeper::Published { .. },
                _,
            ) => Err(Failure::NotDone(
                "the jailer answered something else".into(),
            )),
        }
    }
}

fn word(fault: JailFault) -> &'static str {
    super::super::act::words(fault).0
}
