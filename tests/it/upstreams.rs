//! MCP servers in real foreign jails, egress as their client, and a keeper's pool: each role is the
//! real one, but for the keeper, in whose place the test asks.

mod budget;
mod hostile;
mod life;
mod real;
mod world;
