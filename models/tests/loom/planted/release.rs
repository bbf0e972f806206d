//! Completing and releasing in other orders than the real ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed as Counting};

use super::super::checker::spawn;
use super::super::crash::mortal;
use super::super::sync::{AcqRel, Acquire, AtomicU64, Relaxed, Release};
use super::{caught, caught_with_a_death};

const RUNNING: u64 = 1;
const DONE: u64 = 2;
const CLOSED: u64 = u64::MAX;

/// The list has a word of its own, which is closed before the state says that the task is done.
/// Whoever finds it closed lets the consumer go; then the producer is run again.
#[test]
fn close_before_the_state() {
    caught_with_a_death("close the list before the state", 3, |kill| {
        let state = Arc::new(AtomicU64::new(RUNNING));
        let list = Arc::new(AtomicU64::new(0));
        let producer = {
            let (state, list, kill) = (Arc::clone(&state), Arc::clone(&list), kill.clone());
            spawn(move || {
                mortal(&kill, || {
                    list.compare_exchange(0, CLOSED, AcqRel, Relaxed).unwrap();
                    state.compare_exchange(RUNNING, DONE, AcqRel, Relaxed).unwrap();
                })
            })
        };
        let consumer_ran = list.load(Acquire) == CLOSED;
        producer.join().unwrap();
        let runs_again = state.load(Acquire) == RUNNING;
        assert!(!(consumer_ran && runs_again), "the producer runs again under its consumer");
    });
}

/// A pending consumer with one producer, and a walk that may be done again.
struct Consumer {
    fan_in: AtomicU64,
    ready: AtomicU64,
}

impl Consumer {
    /// Decides by "I have changed it".
    fn release_if_changed(&self) {
        if self.fan_in.fetch_and(!1, AcqRel) == 1 {
            let _ = self.ready.compare_exchange(0, 1, AcqRel, Relaxed);
        }
    }
}

#[test]
fn redo_by_what_was_changed() {
    caught_with_a_death("redo by what was changed", 3, |kill| {
        let consumer = Arc::new(Consumer { fan_in: AtomicU64::new(1), ready: AtomicU64::new(0) });
        let walker = {
            let (consumer, kill) = (Arc::clone(&consumer), kill.clone());
            spawn(move || mortal(&kill, || consumer.release_if_changed()))
        };
        if walker.join().unwrap().is_none() {
            consumer.release_if_changed(); // the walk again, by the supervisor
        }
        assert_eq!(consumer.ready.load(Acquire), 1, "the consumer waits for ever");
    });
}

/// Completes with an exchange that releases nothing.
#[test]
fn relaxed_completion() {
    caught("relaxed completion", 3, || {
        let state = Arc::new(AtomicU64::new(RUNNING));
        let value = Arc::new(AtomicU64::new(0));
        let producer = {
            let (state, value) = (Arc::clone(&state), Arc::clone(&value));
            spawn(move || {
                value.store(7, Relaxed);
                state.compare_exchange(RUNNING, DONE, Relaxed, Relaxed).unwrap();
            })
        };
        if state.load(Acquire) == DONE {
            assert_eq!(value.load(Relaxed), 7, "the consumer does not see the result");
        }
        producer.join().unwrap();
    });
}

/// Two producers on two words without a tree above them: each reads the other's old value.
#[test]
fn two_words_without_a_root() {
    caught("two fan-in words without a root", 3, || {
        let words = Arc::new([AtomicU64::new(1), AtomicU64::new(1)]);
        let released = Arc::new(AtomicU32::new(0));
        let clear = |mine: usize| {
            let (words, released) = (Arc::clone(&words), Arc::clone(&released));
            move || {
                words[mine].fetch_and(!1, AcqRel);
                if words[1 - mine].load(Acquire) == 0 {
                    released.fetch_add(1, Counting);
                }
            }
        };
        let other = spawn(clear(1));
        clear(0)();
        other.join().unwrap();
        assert_ne!(released.load(Counting), 0, "nobody releases the consumer");
    });
}

/// Publishes the slot before what belongs to it.
#[test]
fn publish_before_the_descriptor() {
    caught("publish before the task descriptor", 3, || {
        let state = Arc::new(AtomicU64::new(0));
        let descriptor = Arc::new(AtomicU64::new(0));
        let taker = {
            let (state, descriptor) = (Arc::clone(&state), Arc::clone(&descriptor));
            spawn(move || {
                if state.load(Acquire) == RUNNING {
                    assert_eq!(
                        descriptor.load(Relaxed),
                        7,
                        "the taker reads an old task descriptor"
                    );
                }
            })
        };
        state.store(RUNNING, Release);
        descriptor.store(7, Relaxed);
        taker.join().unwrap();
    });
}
