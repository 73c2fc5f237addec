//! `keepgate serve`.

use tracing::Level;

use super::app::App;
use super::exit::Exit;
use crate::config::Config;
use crate::error::Result;

pub(super) fn run(app: &App) -> Result<Exit> {
    let config = Config::load(&app.paths.config())?;
    config.check(&app.paths)?;
    crate::diagnostics::start(Level::INFO);
    crate::supervisor::serve(&config, &app.paths)?;
    Ok(Exit::Ok)
}
