//! Which flow this is.

use serde::ser::{Error as _, Serializer};

use crate::driver;
use crate::protocol::codec;
use crate::protocol::error::Error;
use crate::protocol::handle::{Handle, Side};
use crate::protocol::refs::{self, FOREIGN};
use crate::worker::connection;

/// The flow whose values are being decoded; or in a worker its own, in the driver the one that
/// was built last.
pub(crate) fn side() -> Result<Side, Error> {
    if let Some(side) = refs::side().or_else(connection::current) {
        return Ok(side);
    }
    let host = driver::current();
    host.map(|host| Side::Counted(host))
        .ok_or_else(|| Error::Closed("there is none in this process".to_owned()))
}

/// Writes a ref of the flow `stamp` into the value that is being written, which is to be for this
/// flow.
pub(crate) fn put_token<S: Serializer>(
    serializer: S,
    kind: u8,
    handle: Option<&Handle>,
    stamp: usize,
    words: &[u64],
) -> Result<S::Ok, S::Error> {
    if let Some(handle) = handle {
        refs::note(handle);
    }
    let own = side().map_err(S::Error::custom)?.stamp();
    if stamp != own {
        return Err(S::Error::custom(FOREIGN));
    }
    codec::put_token(serializer, kind, words)
}
