//! What the tests of the workspace share: the harness that runs every test in a process of its own
//! ([`tests!`]), small executors, ways to wait, to look at processes and to end them, shortages of
//! what the system gives, and random graphs with a sequential run to compare with.

pub mod bodies;
mod executor;
pub mod flow;
pub mod graphs;
pub mod harness;
mod process;
mod random;
pub mod shortage;

pub use bodies::Gate;
pub use executor::*;
pub use process::*;
pub use random::*;
