//! State words, and the steps that move a slot.

use mailring::ring::slot::{Completion, GUARD, NO_FAILED_ROOT, Push, Watch};
use mailring::ring::table::{Found, examine};
use mailring::ring::word::{self, GEN_MASK, SUBMITTER, SUPERVISOR};
use mailring::ring::{EdgeKind, Phase, Slot, Word};

use crate::{ME, Window};

pub(crate) fn an_index_is_cut_to_the_window() {
    let window = Window::new(16, 0);
    let table = window.table();
    assert!(std::ptr::eq(table.slot(5), table.slot(16 + 5)));
    assert!(std::ptr::eq(table.slot(u32::MAX), table.slot(15)));
    assert!(std::ptr::eq(table.edge(64), table.edge(0)));
    assert_eq!(table.window(), 16);
}

pub(crate) fn a_word_keeps_its_fields_apart() {
    for generation in [0, 1, GEN_MASK] {
        for owner in [0, 1, word::GROUP] {
            for head in [0, 1, 0x7_ffff] {
                let first = Word::new(Phase::Running, owner, generation).with_head(head);
                for attempt in [0, 1, 63, 64, 65, 511, 512, 513, 1 << 20] {
                    let now = first.in_attempt(attempt).with_owner(owner);
                    let check = |now: Word| {
                        assert_eq!(now.phase(), Some(Phase::Running));
                        assert_eq!((now.owner(), now.head()), (owner, head));
                        assert_eq!(now.generation(), generation);
                        assert_eq!(u32::from(now.attempt()), attempt % 512);
                    };
                    check(now);
                    check(now.with_cancel());
                    check(now.with_watch());
                    assert!(now.with_cancel().cancelled() && !now.with_watch().cancelled());
                    assert!(now.with_watch().watched() && !now.with_cancel().watched());
                    assert!(now.same_lease(now.with_watch().with_cancel().with_head(7)));
                    assert!(!now.same_lease(now.in_attempt(attempt + 1)));
                    let far = first.in_attempt(attempt + 512);
                    assert!(!first.in_attempt(attempt).same_lease(far));
                    assert!(!now.same_lease(now.with_phase(Phase::Condemned)));
                }
            }
        }
    }
}

pub(crate) fn blasted_words_are_no_words() {
    for bits in [0, u64::MAX, 2, 12, 13, 14, 15] {
        let word = Word(bits);
        assert_eq!(word.phase(), None);
        assert!(!word.is_done() && !word.is_retired() && !word.is_failed());
    }
}

pub(crate) fn one_taker_of_many() {
    for _ in 0..200 {
        let slot = Slot::new();
        slot.publish_ready(SUBMITTER, 1, NO_FAILED_ROOT);
        let takers = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3u16)
                .map(|me| {
                    scope.spawn({
                        let slot = &slot;
                        move || slot.take(me)
                    })
                })
                .collect();
            threads.into_iter().filter_map(|t| t.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(takers.len(), 1);
        assert_eq!(slot.load(), takers[0]);
    }
}

pub(crate) fn a_closed_list_takes_no_edge() {
    let slot = Slot::new();
    slot.publish_ready(SUBMITTER, 1, NO_FAILED_ROOT);
    let mut links = Vec::new();
    assert_eq!(slot.push_edge(1, 4, |next| links.push(next)), Push::Pushed);
    let lease = slot.take(ME).unwrap();
    assert_eq!(slot.push_edge(1, 9, |next| links.push(next)), Push::Pushed);
    assert_eq!(links, [0, 5], "the head is the index plus one");
    assert_eq!(slot.complete(lease, ME, false), Completion::Walk { head: 10, watched: false });
    assert_eq!(slot.push_edge(1, 2, |_| ()), Push::Finished { failed: true });
    assert!(!slot.retire(1));
    assert_eq!(slot.push_edge(1, 2, |_| ()), Push::Finished { failed: true });
    assert_eq!(slot.push_edge(2, 2, |_| ()), Push::Finished { failed: false }, "another lap");
    assert!(slot.load().is_retired() && slot.load().is_failed());
}

/// Three consumers of one producer; one of them waits for somebody else as well, and one only had
/// to come later.
pub(crate) fn the_walk_releases_each_consumer() {
    for failed_root in [None, Some(77)] {
        let window = Window::new(16, 0);
        let table = window.table();
        table.slot(0).publish_ready(SUBMITTER, 1, NO_FAILED_ROOT);
        for (index, consumer) in [1u32, 2, 3].into_iter().enumerate() {
            let waits = if consumer == 2 { 2 } else { 1 };
            table.slot(consumer).publish_pending(SUBMITTER, 1, waits, NO_FAILED_ROOT);
            let edge = table.edge(index as u32);
            let kind = if consumer == 3 { EdgeKind::Order } else { EdgeKind::Data };
            edge.set(consumer, 0, kind, 1);
            let pushed = table.slot(0).push_edge(1, index as u32, |next| edge.set_next(next));
            assert_eq!(pushed, Push::Pushed);
            assert!(!table.slot(consumer).clear(GUARD, 1), "still waits");
        }
        let lease = table.slot(0).take(ME).unwrap();
        let mut released = Vec::new();
        assert_eq!(
            table.finish(table.slot(0), lease, ME, failed_root, |r| released.push(r.slot)),
            Some(false)
        );
        released.sort_unstable();
        assert_eq!(released, [1, 3]);
        assert!(table.slot(0).load().is_retired());
        let causes = [1, 2, 3].map(|slot| table.slot(slot).failed_root());
        let data = failed_root.unwrap_or(NO_FAILED_ROOT);
        assert_eq!(causes, [data, data, NO_FAILED_ROOT]);
        assert!(table.slot(2).clear(1 << 1, 1), "now the other one, too");
        assert!(table.slot(2).make_ready(ME, 1));
        assert!(!table.slot(2).make_ready(ME, 1), "one caller did it");
    }
}

pub(crate) fn the_smallest_cause_wins() {
    let slot = Slot::new();
    slot.publish_pending(SUBMITTER, 1, 3, NO_FAILED_ROOT);
    for (failed_root, expected) in [(50, 50), (80, 50), (20, 20), (20, 20)] {
        slot.mark_failed_root(failed_root);
        assert_eq!(slot.failed_root(), expected);
    }
}

pub(crate) fn a_superseded_end_does_not_count() {
    let slot = Slot::new();
    slot.publish_ready(SUBMITTER, 1, NO_FAILED_ROOT);
    let first = slot.take(ME).unwrap();
    let condemned = slot.condemn(first).unwrap();
    assert!(matches!(slot.complete(first, ME, true), Completion::Superseded(_)));
    let again = slot.revoke(condemned, Phase::Ready).unwrap();
    assert_eq!((again.attempt(), again.owner()), (1, SUPERVISOR));
    let second = slot.take(ME).unwrap();
    assert!(matches!(slot.complete(first, ME, true), Completion::Superseded(_)));
    assert!(!slot.give_back(first));
    assert_eq!(slot.complete(second, ME, true), Completion::Retired { watched: false });
    assert!(matches!(slot.complete(second, ME, true), Completion::Superseded(_)));
}

pub(crate) fn clearing_twice_is_once() {
    let slot = Slot::new();
    slot.publish_pending(SUBMITTER, 1, 2, NO_FAILED_ROOT);
    assert!(!slot.clear(1, 1));
    assert!(!slot.clear(1, 1), "bit 1 and the guard are left");
    assert!(!slot.clear(GUARD, 1) && !slot.fan_in_is_zero(1));
    assert!(slot.clear(2, 1));
    assert!(slot.clear(2, 1), "the redo of a clearer that died sees it as well");
    assert!(slot.fan_in_is_zero(1));
    assert!(slot.take_pending(ME, 1).is_some());
    assert!(slot.take_pending(ME, 1).is_none());
}

pub(crate) fn of_another_lap_is_left_alone() {
    let slot = Slot::new();
    slot.publish_pending(SUBMITTER, 5, 1, NO_FAILED_ROOT);
    let before = slot.load();
    assert!(!slot.clear(0, 4));
    assert!(!slot.make_ready(ME, 4));
    assert!(slot.take_pending(ME, 4).is_none());
    assert!(!slot.cancel(4));
    assert_eq!(slot.watch(4), Watch::Passed);
    assert!(!slot.retire(4));
    assert!(!slot.fan_in_is_zero(4));
    assert_eq!(slot.load(), before);
}

pub(crate) fn watchers_are_told() {
    let slot = Slot::new();
    slot.publish_ready(SUBMITTER, 1, NO_FAILED_ROOT);
    assert_eq!(slot.watch(1), Watch::Armed);
    assert!(slot.cancel(1));
    let lease = slot.take(ME).unwrap();
    assert!(lease.cancelled() && lease.watched());
    assert_eq!(slot.complete(lease, ME, false), Completion::Retired { watched: true });
    assert_eq!(slot.watch(1), Watch::Passed);
    assert!(!slot.cancel(1));
}

/// What a dead worker leaves in each phase, and what is not its own.
pub(crate) fn a_dead_owners_slots_are_found() {
    let window = Window::new(16, 0);
    let table = window.table();
    let look = |slot| examine(&table, slot, ME, SUPERVISOR);
    for slot in 0..6 {
        table.slot(slot).publish_ready(SUBMITTER, 1, NO_FAILED_ROOT);
    }
    let lease = |slot: u32, me| table.slot(slot).take(me).unwrap();
    assert!(matches!(look(0), Found::Ready(_)));
    let mine = lease(1, ME);
    assert_eq!(look(1), Found::Leased(mine));
    _ = lease(2, ME + 1);
    assert_eq!(look(2), Found::Nothing);
    // Completed, not walked.
    assert_eq!(table.slot(3).push_edge(1, 0, |_| ()), Push::Pushed);
    let done = lease(3, ME);
    assert!(matches!(table.slot(3).complete(done, ME, true), Completion::Walk { .. }));
    let Found::Unwalked(word) = look(3) else { panic!("{:?}", look(3)) };
    assert!(table.slot(3).adopt(word).is_some());
    assert!(matches!(look(3), Found::Unwalked(_)), "an interrupted pass finds its own");
    // Cleared by the dead, who did not come to make it ready.
    table.slot(4).publish_pending(SUBMITTER, 2, 1, NO_FAILED_ROOT);
    assert_eq!(look(4), Found::Nothing);
    assert!(table.slot(4).clear(GUARD | 1, 2));
    assert!(matches!(look(4), Found::Ready(_)));
    assert!(table.slot(4).load().is(Phase::Ready));
}

/// Attempts are counted beside the word, which has the low bits of them only.
pub(crate) fn attempts_are_counted_for_ever() {
    let slot = Slot::new();
    for lap in 1..4 {
        slot.publish_ready(SUBMITTER, lap, NO_FAILED_ROOT);
        let first = slot.load();
        let mut words = std::collections::HashSet::new();
        for attempt in 0..3000 {
            let ready = slot.load();
            assert!(ready.is(Phase::Ready) && words.insert(ready.0), "attempt {attempt}");
            assert_eq!(slot.attempt(ready), attempt, "lap {lap}");
            let lease = slot.take(3).unwrap();
            assert_eq!(slot.attempt(lease), attempt);
            let again = slot.revoke(lease, Phase::Ready).unwrap();
            assert_eq!(slot.attempt(again), attempt + 1);
            // One who comes late changes neither the word nor the count.
            assert!(slot.revoke(lease, Phase::Ready).is_none());
            assert!(slot.revoke(first, Phase::Ready).is_none());
        }
        let lease = slot.take(3).unwrap();
        assert_eq!(slot.complete(lease, 3, true), Completion::Retired { watched: false });
    }
}
