//! What every command needs: where things are, which plane is meant, where words go.

use std::path::PathBuf;

use super::args::Global;
use super::client::{self, Client};
use super::print::Screen;
use crate::config::{Config, DEFAULT_PLANE, Paths};
use crate::error::{Error, Kind, Result};
use crate::wire::text::escaped;

/// One run of the command line.
#[derive(Debug)]
pub(super) struct App {
    /// Where things are.
    pub(super) paths: Paths,
    /// Where words go.
    pub(super) screen: Screen,
    plane: Option<String>,
    token: Option<PathBuf>,
}

impl App {
    pub(super) fn new(global: Global, paths: Paths, screen: Screen) -> Self {
        Self {
            paths,
            screen,
            plane: global.plane,
            token: global.token_file,
        }
    }

    /// The plane that was named.
    pub(super) fn asked_plane(&self) -> Option<&str> {
        self.plane.as_deref()
    }

    /// The plane meant: the one named, or else the configuration's first. An agent's user may not
    /// read the configuration; then it is `production`.
    pub(super) fn plane(&self) -> Result<String> {
        let config = match Config::find(&self.paths.config()) {
            // Only `--plane` and the default depend on it; the command itself may still work.
            Err(error) if self.plane.is_none() => return Err(error),
            Err(_) => None,
            Ok(config) => config,
        };
        match (&self.plane, config) {
            (Some(plane), Some(config)) if !config.planes.contains_key(plane) => {
                let known: Vec<&str> = config.planes.keys().map(String::as_str).collect();
                Err(Error::of(
                    Kind::Usage,
                    format!("there is no plane `{}`", escaped(plane)),
                )
                .hint(format!("the configuration has: {}", known.join(", "))))
            }
            (Some(plane), _) => Ok(plane.clone()),
            (None, Some(config)) => Ok(config.default_plane().into()),
            (None, None) => Ok(DEFAULT_PLANE.into()),
        }
    }

    /// A connection to the keeper of the plane meant.
    pub(super) fn keeper(&self) -> Result<Client> {
        let plane = self.plane()?;
        let client = Client::connect(&self.paths.admin_socket(&plane), &plane, self.token()?)?;
        Ok(client.watching(self.paths.supervisor_status()))
    }

    /// As [`App::keeper`]; nothing where it does not run, or this user may not ask it.
    pub(super) fn keeper_if_any(&self, plane: &str) -> Result<Option<Client>> {
        match Client::reach(&self.paths.admin_socket(plane), plane, self.token()?) {
            Err(error) if error.kind() == Kind::Denied => Ok(None),
            reached => Ok(reached?.map(|client| client.watching(self.paths.supervisor_status()))),
        }
    }

    /// The operator's token, where there is one.
    pub(super) fn token(&self) -> Result<Option<crate::wire::admin::Token>> {
        client::token(self.token.as_ref(), &self.paths.token_file())
    }

    /// The options that make another command line mean this install and this plane.
    pub(super) fn options(&self, plane: &str) -> Vec<String> {
        let mut options = Vec::new();
        // The default depends on who asks, so an agent's user is told where to look.
        options.extend([
            "--dir".into(),
            self.paths.dir().to_string_lossy().into_owned(),
        ]);
        if plane != DEFAULT_PLANE {
            options.extend(["--plane".into(), plane.into()]);
        }
        options
    }
}
