//! A worker process of a flow: its life, the calls it runs, and its line to the driver.

pub(super) mod call;
pub(super) mod connection;
pub(super) mod context;
pub(super) mod life;
mod serve;
