//! `keepgate mode`.

use serde_json::Value;

use super::app::App;
use super::exit::Exit;
use super::layout::{text, time};
use crate::error::Result;
use crate::wire::admin::{Ask, Mode};

pub(super) fn run(app: &App, set: Option<Mode>) -> Result<Exit> {
    let value = app.keeper()?.ask(Ask::Mode { set })?;
    app.screen.answer(&value, sentence)?;
    Ok(Exit::Ok)
}

fn sentence(value: &Value) -> String {
    let mode = text(value, "mode");
    let meaning = match mode.as_str() {
        "live" => "tools change things",
        _ => "tools show what they would change",
    };
    let since = match text(value, "since").as_str() {
        "" => String::new(),
        since => format!(", since {}", time(since)),
    };
    format!("{mode}: {meaning}{since}")
}
