//! What driver and workers have in common: the words and bytes that pass between them.

use mailring_process::sync;

pub(crate) mod cell;
pub(crate) mod notifier;
