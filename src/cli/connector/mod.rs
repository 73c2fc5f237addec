//! `keepgate connector`: a file for each command. What a connector is, and what is pinned of it, is
//! [`crate::catalog::connector`]'s; here it is asked, measured, shown and written down.

mod approve;
mod bundle;
mod diff;
mod files;
mod import;
mod install;
mod list;
mod now;
mod remote;
mod remove;
mod server;
mod session;
mod show;
mod source;
mod vet;

pub(super) use diff::shown;
pub(super) use files::directory;

use super::app::App;
use super::args::ConnectorCommand;
use super::exit::Exit;
use crate::error::Result;

/// Whether these bytes are a `server.json` that can be imported; what a fuzzer calls.
pub fn reads_server_json(bytes: &[u8]) -> bool {
    source::server_json(bytes, "fuzz").is_ok()
}

pub(super) fn run(app: &App, command: ConnectorCommand) -> Result<Exit> {
    match command {
        ConnectorCommand::Import(options) => import::run(app, &options),
        ConnectorCommand::Vet { name } => vet::run(app, &name),
        ConnectorCommand::Approve { name, by, accept } => approve::run(app, &name, &by, &accept),
        ConnectorCommand::Diff { name } => diff::run(app, &name),
        ConnectorCommand::List { report } => list::run(app, report),
        ConnectorCommand::Show { name } => show::run(app, &name),
        ConnectorCommand::Export { name, file, sign } => bundle::export(app, &name, &file, &sign),
        ConnectorCommand::ImportBundle {
            file,
            trust,
            replace,
        } => bundle::import(app, &file, &trust, replace),
        ConnectorCommand::Remove { name, yes } => remove::run(app, &name, yes),
    }
}
