//! Workers that form a group of two: in time, too late, in an attempt that is over, dying.
//!
//! Checked: one start, one completion, one body for each member, and nobody sleeps while its
//! group runs or could start.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed as Counting;

use super::super::checker::{explore, explore_kills, spawn};
use super::super::crash::{Kill, mortal};
use super::super::gang::{Flaw, Gang, Joined};
use super::super::ring::word::Phase;

/// Lets worker `me` look at the group in a thread; what it has joined comes back.
macro_rules! attend {
    ($gang:expr, $me:expr) => {{
        let gang = Arc::clone(&$gang);
        spawn(move || look(&gang, $me))
    }};
}

fn look(gang: &Gang, me: u16) -> Joined {
    let mut joined = None;
    gang.attend(me, &mut joined);
    joined
}

fn finished_once(gang: &Gang) {
    assert!(!(0..3).any(|worker| gang.sleeps(worker)), "a member sleeps through its group");
    assert!(gang.slot().load().is_retired());
    assert_eq!(gang.starts.load(Counting), 1, "starts");
    assert_eq!(gang.completions.load(Counting), 1, "completions");
    assert_eq!([0, 1].map(|i| gang.bodies[i].load(Counting)), [1, 1], "bodies of the members");
}

#[test]
fn two_join_start_and_end() {
    explore("groups", 3, || two(Flaw::None));
}

pub(crate) fn two(flaw: Flaw) {
    let gang = Arc::new(Gang::new(flaw));
    let other = attend!(gang, 1);
    let mine = look(&gang, 0);
    let other = other.join().unwrap();
    gang.wake_up(&mut [(0, mine), (1, other)]);
    finished_once(&gang);
}

#[test]
fn three_want_two_places() {
    explore("groups, three", 1, || {
        let gang = Arc::new(Gang::new(Flaw::None));
        let others = [1, 2].map(|me| attend!(gang, me));
        let mine = look(&gang, 0);
        let [one, two] = others.map(|other| other.join().unwrap());
        gang.wake_up(&mut [(0, mine), (1, one), (2, two)]);
        finished_once(&gang);
    });
}

/// A worker that has read the state pauses; meanwhile the attempt ends and the next one forms.
/// Its claim must not drive out a member of the next attempt.
#[test]
fn late_join_of_an_older_attempt() {
    explore("groups, older attempt", 3, || {
        let gang = Arc::new(Gang::new(Flaw::None));
        let late = attend!(gang, 0);
        // The supervisor starts the attempt anew while it forms; then worker 1 joins.
        let now = gang.slot().load();
        if now.is(Phase::Ready) && gang.slot().revoke(now, Phase::Ready).is_some() {
            gang.wake_members(gang.slot().attempt(now), None);
        }
        let mine = look(&gang, 1);
        let late = late.join().unwrap();
        gang.wake_up(&mut [(0, late), (1, mine)]);
        finished_once(&gang);
    });
}

/// Member 0 dies at `kill`; member 1 and a replacement still bring the group to its end.
pub(crate) fn one_member_dies(kill: &Kill, flaw: Flaw) {
    let gang = Arc::new(Gang::new(flaw));
    let first = {
        let (gang, kill) = (Arc::clone(&gang), kill.clone());
        spawn(move || mortal(&kill, || look(&gang, 0)))
    };
    let other = attend!(gang, 1);
    let first = first.join().unwrap();
    if first.is_none() {
        gang.recover(0);
    }
    let other = other.join().unwrap();
    let mut crew = [(0, first.flatten()), (1, other)];
    for _ in 0..3 {
        gang.wake_up(&mut crew);
        gang.conclude();
        for (worker, joined) in &mut crew {
            if !gang.sleeps(*worker) {
                gang.attend(*worker, joined); // idle, and the group is visible
            }
        }
    }
    let word = gang.slot().load();
    assert!(word.is_retired(), "the group never ends: {word:?}");
    assert!(!gang.sleeps(0) && !gang.sleeps(1), "a member sleeps on");
    assert!(gang.completions.load(Counting) <= 1, "completed twice");
}

#[test]
fn death_of_a_member() {
    explore_kills("groups, death", 2, |kill| one_member_dies(kill, Flaw::None));
}
