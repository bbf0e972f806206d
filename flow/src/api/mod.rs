//! What programs use: flows, nodes, refs, actors, waits.

pub(crate) mod actor;
pub(crate) mod call;
pub(crate) mod config;
pub(crate) mod current;
pub(crate) mod flow;
pub(crate) mod into_arg;
pub(crate) mod placement;
pub mod probe;
pub(crate) mod profile;
pub(crate) mod progress;
pub(crate) mod provide;
pub mod raise;
pub(crate) mod reference;
pub(crate) mod shared;
pub(crate) mod view;
pub(crate) mod wait;
