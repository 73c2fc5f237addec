//! How much an agent may ask of the front at one time, and how long it may take.

use std::time::Duration;

use super::message::LINE_MAX;
use crate::wire::messages::RESULT_MAX;

/// All limits of the front.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections of one agent.
    pub(super) connections: usize,
    /// Calls and lists in flight on one connection.
    pub(super) calls: usize,
    /// Calls and lists in flight of one agent.
    pub(super) agent_calls: usize,
    /// Streams of news of one agent: subscriptions, and open sessions' own.
    pub(super) streams: usize,
    /// Sessions over HTTP of one agent; the one that was idle longest makes room for another.
    pub(super) sessions: usize,
    /// A session over HTTP that nobody used for so long ends.
    pub(super) session_idle: Duration,
    /// TCP connections of one door.
    pub(super) door_connections: usize,
    /// Of these, connections on which nobody has proved who it is; the oldest makes room.
    pub(super) strangers: usize,
    /// TCP connections of one door from one address of another host.
    pub(super) peer_connections: usize,
    /// Bytes of HTTP requests of one agent that are being read.
    pub(super) agent_bodies: usize,
    /// For the head of an HTTP request, from the connection or the answer before; and for TLS.
    pub(super) head: Duration,
    /// For the body of an HTTP request.
    pub(super) body: Duration,
    /// Between two signs of life on a stream that has nothing to say; an answer that takes longer
    /// becomes a stream.
    pub(super) heartbeat: Duration,
    /// Bytes of one line from an agent.
    pub(super) line: usize,
    /// Bytes waiting to be read by an agent, on one connection, above which its requests wait.
    pub(super) unread_pause: usize,
    /// Bytes waiting on one connection above which it is closed.
    pub(super) unread: usize,
    /// Bytes waiting on all connections of one agent above which one is closed.
    pub(super) agent_unread: usize,
    /// From connecting to a good `initialize`.
    pub(super) handshake: Duration,
    /// An agent that reads nothing for so long while something waits for it is closed.
    pub(super) stall: Duration,
    /// Malformed lines, less the good ones, after which a connection is closed.
    pub(super) strikes: u32,
    /// Time between two notes to the keeper about one connection.
    pub(super) note_every: Duration,
    /// Time for calls in flight to end when the role is told to stop.
    pub(super) stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16,
            calls: 64,
            agent_calls: 128,
            streams: 32,
            sessions: 64,
            session_idle: Duration::from_secs(30 * 60),
            door_connections: 512,
            strangers: 128,
            peer_connections: 64,
            agent_bodies: 8 * LINE_MAX,
            head: Duration::from_secs(20),
            body: Duration::from_secs(30),
            heartbeat: Duration::from_secs(15),
            line: LINE_MAX,
            unread_pause: RESULT_MAX,
            unread: 8 * RESULT_MAX,
            agent_unread: 16 * RESULT_MAX,
            handshake: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            strikes: 100,
            note_every: Duration::from_secs(1),
            stop: Duration::from_secs(5),
        }
    }
}
