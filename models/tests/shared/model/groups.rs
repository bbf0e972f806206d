//! Workers that form a group of two: in time, too late, in an attempt that is over, dying.
//!
//! Checked: one start, one completion, one body for each member, and nobody sleeps while its
//! group runs or could start.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed as Counting;

use super::super::checker::{explore, explore_kills, spawn};
use super::super::crash::{Kill, mortal};
use super::super::group_pool::{Flaw, GroupPool, Joined};
use super::super::ring::word::Phase;

/// Lets worker `me` look at the group in a thread; what it has joined comes back.
macro_rules! attend {
    ($pool:expr, $me:expr) => {{
        let pool = Arc::clone(&$pool);
        spawn(move || look(&pool, $me))
    }};
}

fn look(pool: &GroupPool, me: u16) -> Joined {
    let mut joined = None;
    pool.attend(me, &mut joined);
    joined
}

fn finished_once(pool: &GroupPool) {
    assert!(!(0..3).any(|worker| pool.sleeps(worker)), "a member sleeps through its group");
    assert!(pool.slot().load().is_retired());
    assert_eq!(pool.starts.load(Counting), 1, "starts");
    assert_eq!(pool.completions.load(Counting), 1, "completions");
    assert_eq!([0, 1].map(|i| pool.bodies[i].load(Counting)), [1, 1], "bodies of the members");
}

#[test]
fn two_join_start_and_end() {
    explore("groups", 3, || two(Flaw::None));
}

pub(crate) fn two(flaw: Flaw) {
    let pool = Arc::new(GroupPool::new(flaw));
    let other = attend!(pool, 1);
    let mine = look(&pool, 0);
    let other = other.join().unwrap();
    pool.wake_up(&mut [(0, mine), (1, other)]);
    finished_once(&pool);
}

#[test]
fn three_want_two_places() {
    explore("groups, three", 1, || {
        let pool = Arc::new(GroupPool::new(Flaw::None));
        let others = [1, 2].map(|me| attend!(pool, me));
        let mine = look(&pool, 0);
        let [one, two] = others.map(|other| other.join().unwrap());
        pool.wake_up(&mut [(0, mine), (1, one), (2, two)]);
        finished_once(&pool);
    });
}

/// A worker that has read the state pauses; meanwhile the attempt ends and the next one forms.
/// Its claim must not drive out a member of the next attempt.
#[test]
fn late_join_of_an_older_attempt() {
    late_join(2);
}

#[test]
#[ignore = "for the fault tier"]
fn soak_late_join_of_an_older_attempt() {
    late_join(3);
}

fn late_join(bound: usize) {
    explore("groups, older attempt", bound, || {
        let pool = Arc::new(GroupPool::new(Flaw::None));
        let late = attend!(pool, 0);
        // The supervisor starts the attempt anew while it assembles; then worker 1 joins.
        let now = pool.slot().load();
        if now.is(Phase::Ready) && pool.slot().revoke(now, Phase::Ready).is_some() {
            pool.wake_members(pool.slot().attempt(now), None);
        }
        let mine = look(&pool, 1);
        let late = late.join().unwrap();
        pool.wake_up(&mut [(0, late), (1, mine)]);
        finished_once(&pool);
    });
}

/// Member 0 dies at `kill`; member 1 and a replacement still bring the group to its end.
pub(crate) fn one_member_dies(kill: &Kill, flaw: Flaw) {
    let pool = Arc::new(GroupPool::new(flaw));
    let first = {
        let (pool, kill) = (Arc::clone(&pool), kill.clone());
        spawn(move || mortal(&kill, || look(&pool, 0)))
    };
    let other = attend!(pool, 1);
    let first = first.join().unwrap();
    if first.is_none() {
        pool.recover(0);
    }
    let other = other.join().unwrap();
    let mut members = [(0, first.flatten()), (1, other)];
    for _ in 0..3 {
        pool.wake_up(&mut members);
        pool.conclude();
        for (worker, joined) in &mut members {
            if !pool.sleeps(*worker) {
                pool.attend(*worker, joined); // idle, and the group is visible
            }
        }
    }
    let word = pool.slot().load();
    assert!(word.is_retired(), "the group never ends: {word:?}");
    assert!(!pool.sleeps(0) && !pool.sleeps(1), "a member sleeps on");
    assert!(pool.completions.load(Counting) <= 1, "completed twice");
}

#[test]
fn death_of_a_member() {
    explore_kills("groups, death", 1, |kill| one_member_dies(kill, Flaw::None));
}

#[test]
#[ignore = "for the fault tier"]
fn soak_death_of_a_member() {
    explore_kills("groups, death", 3, |kill| one_member_dies(kill, Flaw::None));
}
