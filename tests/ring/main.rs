//! The ring of slots and the heap rings: numbering, order, laps, reclaim, leases, and what a
//! submitter meets when they are full. Ready sets of slots.

mod full;
mod heap;
mod ready_set;
mod slot_states;
mod window;

use mailring::ring::dist_ring::Needs;
use mailring::ring::slot::NO_FAILED_ROOT;
use mailring::ring::word::SUBMITTER;
use mailring::ring::{DistRing, Edge, Geometry, Slot, Table};

testkit::tests! {
    "ring::window" in window {
        numbers_only_grow, a_window_without_a_heap, a_slot_serves_one_task_a_lap,
        the_oldest_leaves_first, windows_that_cannot_be, edges_are_counted,
        payload_and_group_space_come_back, a_word_that_cannot_be_stops_reclaim,
    }
    "ring::heap" in heap {
        slabs_are_aligned_and_distinct, more_than_the_heap_never_fits,
        a_heap_is_given_back_in_order, the_heap_wraps, a_skipped_end_is_free_again,
        a_drained_heap_is_rebased, the_last_byte_can_be_had, a_slab_is_found_by_address,
        spans_never_overlap, a_ring_without_bytes, a_slab_ends_where_it_was_asked_to,
    }
    "ring::slot_states" in slot_states {
        an_index_is_cut_to_the_window, a_word_keeps_its_fields_apart,
        attempts_are_counted_for_ever, blasted_words_are_no_words, one_taker_of_many,
        a_closed_list_takes_no_edge, the_walk_releases_each_consumer, the_smallest_cause_wins,
        a_superseded_end_does_not_count, clearing_twice_is_once, of_another_lap_is_left_alone,
        watchers_are_told, a_dead_owners_slots_are_found,
    }
    "ring::ready_set" in ready_set {
        slots_are_found_in_turn, an_empty_set_is_seen_by_its_summary,
        what_no_step_leaves_is_put_right,
    }
    "ring::full" in full {
        release_unblocks_a_submit, waiting_has_an_end, a_failed_executor_unblocks_a_submit,
        too_large_is_refused_at_once,
    }
}

const ME: u16 = 3;

struct Window {
    ring: DistRing,
    slots: Vec<Slot>,
    edges: Vec<Edge>,
}

impl Window {
    fn new(window: usize, heap_bytes: usize) -> Self {
        let geometry = Geometry { window, heap_bytes, group_words: 1024 };
        Self {
            ring: DistRing::new(geometry).unwrap(),
            slots: (0..window).map(|_| Slot::new()).collect(),
            edges: (0..geometry.edges()).map(|_| Edge::new()).collect(),
        }
    }

    fn table(&self) -> Table<'_> {
        Table::new(&self.slots, &self.edges)
    }

    /// Submits a task that waits for nobody.
    fn submit(&mut self) -> Option<u64> {
        self.submit_with(Needs::default())
    }

    fn submit_with(&mut self, needs: Needs) -> Option<u64> {
        let at = self.ring.reserve(needs)?;
        self.table().slot(at.slot).publish_ready(SUBMITTER, at.generation, NO_FAILED_ROOT);
        Some(at.seq)
    }

    fn complete(&self, seq: u64) {
        let (slot, _) = self.ring.place(seq);
        let lease = self.table().slot(slot).take(ME).expect("ready");
        assert!(self.table().finish(self.table().slot(slot), lease, ME, None, |_| ()).is_some());
    }

    /// Returns what left the window.
    fn reclaim(&mut self) -> Vec<u64> {
        let mut left = Vec::new();
        let table = Table::new(&self.slots, &self.edges);
        self.ring.reclaim(&table, u64::MAX, |seq, _| left.push(seq)).unwrap();
        left
    }
}
