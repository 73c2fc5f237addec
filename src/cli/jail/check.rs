//! `keepgate jail check`: a manifest against this host, printed whole.

use std::path::Path;

use serde_json::json;

use super::asked;
use crate::cli::app::App;
use crate::cli::exit::Exit;
use crate::error::{Context, Result};
use crate::jail::profile::toml;

pub(in crate::cli) fn run(app: &App, profile: &Path) -> Result<Exit> {
    let manifest = asked::draft(profile)?.check(&asked::host(app, true))?;
    let value = serde_json::to_value(&manifest).context(|| "write the manifest".into())?;
    app.screen
        .answer(&json!({"manifest": value}), |_| toml(&manifest))?;
    Ok(Exit::Ok)
}
