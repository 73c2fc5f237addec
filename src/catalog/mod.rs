//! The pinned tools. Today these are the product's own; their definitions are data beside this
//! file, compiled in, so that the binary's digest pins them too.
#![forbid(unsafe_code)]

pub mod connector;
pub mod owned;
pub mod runtime;

use std::collections::BTreeMap;
use std::sync::Arc;

use ring::digest::{Context, SHA256};

use crate::call::tool::Tool;
use crate::error::{Error, Result};

/// The definitions of the native tools.
const NATIVE: [&str; 4] = [
    include_str!("native/file.list.json"),
    include_str!("native/file.read.json"),
    include_str!("native/file.write.json"),
    include_str!("native/http.request.json"),
];

/// Separates this digest from every other one in Keepgate.
const TAG: &[u8] = b"keepgate/v1/catalog\0";

/// All tools there are, by name.
#[derive(Debug)]
pub struct Catalog {
    /// By internal name.
    tools: BTreeMap<String, Arc<Tool>>,
    /// Wire name → internal name.
    wires: BTreeMap<String, String>,
    digest: [u8; 32],
}

impl Catalog {
    /// The product's own tools.
    ///
    /// # Errors
    /// Fails only where a definition in this binary is damaged.
    pub fn native() -> Result<Self> {
        Self::with(Vec::new())
    }

    /// The product's own tools and those of connectors.
    ///
    /// # Errors
    /// As [`Self::native`], and where two tools have one name on the wire.
    pub fn with(tools: Vec<Tool>) -> Result<Self> {
        let own = NATIVE.iter().map(|text| Tool::define(text));
        let own = own.collect::<Result<Vec<_>>>()?;
        Self::of(own.into_iter().chain(tools).collect())
    }

    fn of(defined: Vec<Tool>) -> Result<Self> {
        let (mut tools, mut wires) = (BTreeMap::new(), BTreeMap::new());
        for tool in defined {
            let (name, wire) = (tool.name().to_owned(), tool.wire().to_owned());
            let twice = wires.insert(wire, name.clone()).is_some();
            let tool = Arc::new(tool);
            if tools.insert(name, Arc::clone(&tool)).is_some() || twice {
                return Err(
                    Error::new(format!("two tools are called `{}`", tool.wire()))
                        .hint("take `prefix = false` out, or one of the connectors"),
                );
            }
        }
        let mut context = Context::new(&SHA256);
        context.update(TAG);
        for tool in tools.values() {
            context.update(tool.digest());
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Ok(Self {
            tools,
            wires,
            digest,
        })
    }

    /// The tool called `name`, inside (`file.read`) or on the wire (`file__read`).
    pub fn tool(&self, name: &str) -> Option<&Arc<Tool>> {
        self.tools
            .get(self.wires.get(name).map_or(name, String::as_str))
    }

    /// All tools in the order of their names.
    pub fn tools(&self) -> impl Iterator<Item = &Arc<Tool>> {
        self.tools.values()
    }

    /// SHA-256 over a tag and the pins of all tools in the order of their names.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_native_tools_are_listed_as_mcp_wants_them() {
        let catalog = Catalog::native().unwrap();
        let names: Vec<&str> = catalog.tools().map(|tool| tool.name()).collect();
        assert_eq!(
            names,
            ["file.list", "file.read", "file.write", "http.request"]
        );
        for tool in catalog.tools() {
            assert!(Arc::ptr_eq(
                catalog.tool(tool.wire()).unwrap(),
                catalog.tool(tool.name()).unwrap()
            ));
            let listing: Value = serde_json::from_str(tool.listing().get()).unwrap();
            assert_eq!(listing["name"], tool.wire());
            assert_eq!(listing["inputSchema"]["type"], "object");
            assert_eq!(listing["outputSchema"]["type"], "object");
            assert!(listing["annotations"]["readOnlyHint"].is_boolean());
            assert!(listing["description"].as_str().unwrap().len() > 80);
            // What model APIs refuse at the top of an input schema.
            for word in ["oneOf", "anyOf", "allOf", "not", "if", "$ref"] {
                assert_eq!(listing["inputSchema"].get(word), None);
            }
            for (name, argument) in tool.input_schema()["properties"].as_object().unwrap() {
                assert!(argument["description"].is_string(), "{name}");
                let bounded = match argument["type"].as_str().unwrap() {
                    "string" => "maxLength",
                    "integer" => "maximum",
                    "object" => "maxProperties",
                    other => panic!("{name} is {other}"),
                };
                assert!(argument[bounded].is_u64(), "{name} has no {bounded}");
            }
        }
        assert!(catalog.tool("file_read").is_none());
        assert!(catalog.tool("").is_none());
    }

    #[test]
    fn every_change_of_a_definition_changes_the_pin() {
        let text = NATIVE[1];
        let before = *Tool::define(text).unwrap().digest();
        let respaced: Value = serde_json::from_str(text).unwrap();
        assert_eq!(
            *Tool::define(&respaced.to_string()).unwrap().digest(),
            before
        );
        for (from, to) in [
            ("Read a file", "Read any file"),
            ("\"reversible\"", "\"irreversible\""),
            ("\"maximum\": 1048576", "\"maximum\": 1048577"),
            ("\"root_path\"", "\"root_path_or_roots\""),
            ("\"readOnlyHint\": true", "\"readOnlyHint\": false"),
        ] {
            assert!(text.contains(from), "{from}");
            let changed = Tool::define(&text.replacen(from, to, 1)).unwrap();
            assert_ne!(*changed.digest(), before, "{from}");
        }
    }

    #[test]
    fn a_definition_that_lets_too_much_in_is_refused() {
        let text = NATIVE[1];
        for (from, to) in [
            (
                "\"additionalProperties\": false",
                "\"additionalProperties\": true",
            ),
            ("\"name\": \"file.read\"", "\"name\": \"file_read\""),
            ("\"name\": \"file.read\"", "\"name\": \"file__x.read\""),
            ("\"classes\": [\"read\"]", "\"classes\": []"),
            ("\"path\": \"root_path\"", "\"file\": \"root_path\""),
            ("\"title\"", "\"titel\""),
            (
                "\"minLength\": 1",
                "\"$ref\": \"https://schemas.example/x\"",
            ),
            ("\"minLength\": 1", "\"pattern\": \"(?=x)\""),
        ] {
            assert!(text.contains(from), "{from}");
            assert!(Tool::define(&text.replacen(from, to, 1)).is_err(), "{to}");
        }
    }
}
