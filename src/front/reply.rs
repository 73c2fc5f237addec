//! The lines that go to an agent.

use super::message::RequestId;
use crate::wire::jsonrpc::one_line;

/// The line that answers `id`. `result` is JSON; newlines between its tokens become spaces.
pub(super) fn result(id: &RequestId, result: &[&[u8]]) -> Vec<u8> {
    let length = result.iter().map(|part| part.len()).sum::<usize>() + id.raw.len() + 64;
    let mut line = Vec::with_capacity(length);
    line.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    line.extend_from_slice(id.raw.as_bytes());
    line.extend_from_slice(b",\"result\":");
    result.iter().for_each(|part| line.extend_from_slice(part));
    line.extend_from_slice(b"}\n");
    one_line(line)
}

/// The line that tells of an error; `id` is null where it is not known. `data` is JSON, or empty.
pub(super) fn error(id: Option<&RequestId>, code: i64, message: &str, data: &[u8]) -> Vec<u8> {
    let id = id.map_or("null", |id| &id.raw);
    let message = serde_json::Value::from(message);
    let mut line = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":{code},\"message\":{message}"
    )
    .into_bytes();
    if !data.is_empty() {
        line.extend_from_slice(b",\"data\":");
        line.extend_from_slice(data);
    }
    line.extend_from_slice(b"}}\n");
    one_line(line)
}

/// The line that tells the agent something unasked.
pub(super) fn notification(method: &str) -> Vec<u8> {
    format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\"}}\n").into_bytes()
}

/// The line that tells the agent something; `params` is JSON.
pub(super) fn notification_of(method: &str, params: &[u8]) -> Vec<u8> {
    said(None, method, params)
}

/// The line that asks the client something, as number `id`; `params` is JSON.
pub(super) fn request(id: u64, method: &str, params: &[u8]) -> Vec<u8> {
    said(Some(id), method, params)
}

fn said(id: Option<u64>, method: &str, params: &[u8]) -> Vec<u8> {
    let id = id.map(|id| format!("\"id\":{id},")).unwrap_or_default();
    let method = serde_json::Value::from(method);
    let head = format!("{{\"jsonrpc\":\"2.0\",{id}\"method\":{method},\"params\":");
    one_line([head.as_bytes(), params, b"}\n"].concat())
}
