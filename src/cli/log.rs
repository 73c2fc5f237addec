//! `keepgate log`.

pub(super) mod find;
mod query;
mod rows;
mod show;
mod source;
mod tail;
mod verify;

use super::app::App;
use super::args::LogCommand;
use super::exit::Exit;
use super::layout::{count, number};
use crate::error::Result;
use crate::wire::admin::Ask;

pub(super) use verify::sentence as verified;

pub(super) fn run(app: &App, command: LogCommand) -> Result<Exit> {
    match command {
        LogCommand::Tail {
            follow,
            lines,
            from,
        } => tail::run(app, from.log, lines, follow),
        LogCommand::Show { seq, payload, from } => {
            show::run(app, from.log, seq, payload.as_deref())
        }
        LogCommand::Query(query) => query::run(app, query),
        LogCommand::Verify { dir, key } => verify::run(app, dir, key),
        LogCommand::RebuildIndex => rebuild(app),
        LogCommand::RotateKey => rotate(app),
    }
}

fn rebuild(app: &App) -> Result<Exit> {
    let keeper = app.keeper()?;
    let turning = super::progress::spinner(&app.screen, "building the index again");
    let value = keeper.ask(Ask::RebuildIndex);
    turning.finish_and_clear();
    app.screen.answer(&value?, |value| {
        format!(
            "the index is built again from {}",
            count(number(value, "entries"), "entry", "entries")
        )
    })?;
    Ok(Exit::Ok)
}

fn rotate(app: &App) -> Result<Exit> {
    let value = app.keeper()?.ask(Ask::RotateLogKey)?;
    app.screen.answer(&value, |value| {
        format!(
            "the log has a new key: entry {}; `keepgate log verify` prints it, keep a copy elsewhere",
            number(value, "seq")
        )
    })?;
    Ok(Exit::Ok)
}
