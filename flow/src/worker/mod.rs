//! A worker process of a flow: its life, the calls it runs, and its connection to the driver.

pub(crate) mod connection;
pub(crate) mod life;
mod serve;
pub(crate) mod task;
