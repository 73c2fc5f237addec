//! Where each format is described, with its limits.
//!
//! | bytes | between | described in | longest |
//! |---|---|---|---|
//! | the log: segments, entries, payloads, checkpoint | keeper and disk; any verifier | [`crate::audit`] | 16 MiB an entry |
//! | frames between roles | supervisor, keeper, jailer, front, egress | [`crate::wire::frame`] | 64 KiB a packet, more by sealed memory file |
//! | what the frames say | the same | [`crate::wire::messages`] | 1 MiB arguments, 4 MiB a result |
//! | MCP, one JSON-RPC message a line | agent and front | [`crate::front`] | 1.5 MiB a line |
//! | the operator's protocol | `keepgate` and keeper | [`crate::wire::admin`] | 8 MiB a line |
//! | a tool's order and reply | keeper and jailed tool | [`crate::tools::order`] | 4 MiB |
//! | requests and responses | jailed `http.request` and egress | [`crate::tools::http::stream`] | 1 MiB a request body |
//! | HTTP and TLS through the proxy | programs in foreign jails and egress | [`crate::egress::proxy`] | 32 KiB a head, 16 KiB a ClientHello |
//! | `keepgate.toml` | operator and supervisor | [`crate::config`] | 1 MiB |
//! | manifests of jails | operator and `keepgate jail` | [`crate::jail::profile`] | 256 KiB |
//! | headers of programs | operator's files and `keepgate jail run` | [`crate::jail::elf`] | the first 64 KiB |
//! | policies | operator and keeper | [`crate::policy`] | 256 KiB |
//! | connectors' manifests | operator's files | [`crate::catalog::connector::manifest`] | 1 MiB |
//! | `connectors.lock`, reports | root's files | [`crate::catalog::connector::lock`], [`crate::catalog::connector::report`] | 64 MiB |
//! | `agents.lock` | root's files | [`crate::catalog::runtime::lock`] | 8 MiB |
//! | listings of servers | servers | [`crate::catalog::connector::listing`], [`crate::catalog::connector::digest`] | 8 MiB a message, 256 KiB an object |
//! | skills | operator's files | [`crate::catalog::connector::skill`] | 1 MiB |
//! | files of skills, as agents read them | operator's files | [`crate::catalog::connector::skill::resources`] | 1 MiB each |
//! | bundles | other installs | [`crate::catalog::connector::bundle`] | 128 MiB before the files |
//! | tool definitions | product and keeper | [`crate::catalog`] | |
//! | paths beneath a root, URLs, request ids | everywhere | [`crate::call::path`], [`crate::call::http`], [`crate::call::id`] | 4096 bytes a path |
//!
//! JSON from outside is read by [`crate::wire::json`], which says what it refuses. Text from outside
//! is shown by [`crate::wire::text`]. Times are RFC 3339 in UTC with microseconds
//! ([`crate::time`]); order is by number, never by time.
//!
//! # What an agent gets
//!
//! Every result of `tools/call` carries in `_meta` the member `keepgate/request`: the request id,
//! which is the `call` of the entries about it. A call that was refused or failed has `isError: true`
//! and in `_meta` the member `keepgate/class`, a word from a fixed list, and its text names the
//! argument to blame, if there is one. A limit that is used up is named by `keepgate/limit`, with the
//! seconds after which a call may pass again in `keepgate/retry_after_s`. What is no call at all gets a JSON-RPC error.
