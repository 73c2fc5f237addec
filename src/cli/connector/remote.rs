//! Asking a remote server what it has.

use super::vet::Seen;
use crate::catalog::connector::Connector;
use crate::error::{Error, Result};

/// Everything the remote server lists.
pub(super) fn see(connector: &Connector) -> Result<Seen> {
    Err(Error::new(format!("`{}` is remote", connector.name)))
}
