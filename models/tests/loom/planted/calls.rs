//! Calls of a flow.

use super::super::call_cell::Flaw;
use super::super::model::calls::{completion, recall, seen_or_told, worker_dies};
use super::{caught, caught_with_a_death};

#[test]
fn done_before_the_reply() {
    caught("done before the completion", 3, || completion(Flaw::DoneFirst));
}

#[test]
fn recall_without_an_exchange() {
    caught("recall without asking the worker", 3, || recall(Flaw::RecallWithoutAsking));
}

#[test]
fn no_fence_before_looking_away() {
    caught("no fence before looking away", 3, || seen_or_told(Flaw::NoFence));
}

#[test]
fn started_is_said_after_the_body() {
    caught_with_a_death("the body before its start", 3, |kill| {
        worker_dies(Flaw::StartLast, kill);
    });
}
