//! Other schedulers, each with one thread on the processor of the worker, and the three loads as
//! their users would write them. They run closures in one process: nothing is isolated, and
//! dependencies are what the closures say.

mod channel;
mod rayon;
mod tokio;

use super::run::Measured;

pub(super) trait Peer {
    /// The first word of its keys.
    fn name(&self) -> &'static str;

    /// Nanoseconds from outside to a task and back, one by one.
    fn round_trips(&self, trips: usize) -> Vec<u64>;

    /// Nanoseconds a task that does nothing and waits for nothing.
    fn independent(&self, tasks: usize) -> f64;

    /// Nanoseconds a task, when each starts the next.
    fn chain(&self, tasks: usize) -> f64;
}

/// The one that ratios are taken to.
pub(super) fn rayon(there: usize) -> Measured<impl Peer> {
    rayon::Rayon::new(there)
}

/// All of them, each with a thread on processor `there`.
pub(super) fn all(there: usize) -> Measured<Vec<Box<dyn Peer>>> {
    Ok(vec![
        Box::new(rayon::Rayon::new(there)?),
        Box::new(channel::Channel::new(there)),
        Box::new(tokio::Tokio::new(there)?),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_them_run_all_loads() {
        for peer in all(crate::system::allowed_cpus()[0]).expect("they start") {
            assert_eq!(peer.round_trips(10).len(), 10, "{}", peer.name());
            assert!(peer.independent(1000) > 0.0, "{}", peer.name());
            assert!(peer.chain(1000) > 0.0, "{}", peer.name());
        }
    }
}
