//! A worker process of a flow: its life, the calls it runs, and its line to the driver.

pub(super) mod client;
pub(super) mod context;
pub(super) mod frame;
pub(super) mod life;
mod serve;
