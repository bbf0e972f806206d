//! The window: numbers, laps, order, and the rings that go with it.

use mailring::ring::dist_ring::Needs;
use mailring::ring::heap::ScopeRef;
use mailring::ring::slot::NO_FAILED_ROOT;
use mailring::ring::word::SUBMITTER;
use mailring::ring::{DistRing, Geometry, RingError, Table};

use crate::Window;

pub(crate) fn numbers_only_grow() {
    let mut window = Window::new(16, 0);
    for expected in 0..100 {
        assert_eq!(window.submit(), Some(expected));
        window.complete(expected);
        assert_eq!(window.reclaim(), [expected]);
    }
    assert_eq!((window.ring.next(), window.ring.tail(), window.ring.active()), (100, 100, 0));
}

pub(crate) fn a_window_without_a_heap() {
    let mut window = Window::new(2048, 0);
    (0..2048).for_each(|seq| assert_eq!(window.submit(), Some(seq)));
    assert_eq!(window.ring.active(), 2048);
    assert!(!window.ring.heaps[0].fits(1024));
    assert_eq!(window.ring.heaps[0].take(1024, 0, ScopeRef::default(), true), None);
}

pub(crate) fn a_slot_serves_one_task_a_lap() {
    let mut window = Window::new(16, 0);
    (0..16).for_each(|_| _ = window.submit());
    assert_eq!(window.submit(), None, "all slots are taken");
    assert!(!window.ring.has_room(1, Needs::default()));
    let before = window.ring.place(0);
    window.complete(0);
    assert_eq!(window.submit(), None, "through, but still in the window");
    window.reclaim();
    assert_eq!(window.submit(), Some(16));
    assert_eq!(window.ring.place(16), (before.0, before.1 + 1));
}

pub(crate) fn the_oldest_leaves_first() {
    let mut window = Window::new(16, 0);
    (0..5).for_each(|_| _ = window.submit());
    for seq in [2, 4, 1] {
        window.complete(seq);
        assert_eq!(window.reclaim(), [0u64; 0], "task 0 is in the way");
    }
    assert_eq!(window.ring.active(), 5, "completed ones count until they leave");
    window.complete(0);
    assert_eq!(window.reclaim(), [0, 1, 2]);
    window.complete(3);
    assert_eq!(window.reclaim(), [3, 4]);
}

pub(crate) fn windows_that_cannot_be() {
    for window in [0, 1, 15, 24, 1 << 17] {
        let made = DistRing::new(Geometry { window, heap_bytes: 0, group_words: 0 }).map(drop);
        assert_eq!(made, Err(RingError::Window(window)));
    }
}

pub(crate) fn edges_are_counted() {
    let mut window = Window::new(16, 0);
    let edges = |edges| Needs { edges, ..Needs::default() };
    assert!(window.ring.has_room(1, edges(64)));
    assert!(!window.ring.has_room(1, edges(65)));
    assert_eq!(window.submit_with(edges(60)), Some(0));
    assert!(window.ring.has_room(1, edges(4)) && !window.ring.has_room(1, edges(5)));
    window.complete(0);
    window.reclaim();
    assert!(window.ring.has_room(1, edges(64)));
}

pub(crate) fn payload_and_group_space_come_back() {
    let mut window = Window::new(16, 0);
    let needs = Needs { payload: 5 << 20, group: 700, ..Needs::default() };
    for seq in 0..100 {
        assert_eq!(window.submit_with(needs), Some(seq));
        assert!(!window.ring.has_room(1, needs), "two do not fit");
        assert_eq!(window.submit_with(needs), None);
        assert_eq!(window.ring.next(), seq + 1, "a refusal takes nothing");
        window.complete(seq);
        window.reclaim();
    }
}

pub(crate) fn a_word_that_cannot_be_stops_reclaim() {
    let mut window = Window::new(16, 0);
    (0..3).for_each(|_| _ = window.submit());
    window.complete(0);
    let (slot, generation) = window.ring.place(1);
    window.slots[slot as usize].publish_ready(SUBMITTER, generation + 5, NO_FAILED_ROOT);
    let table = Table::new(&window.slots, &window.edges);
    let found = window.ring.reclaim(&table, u64::MAX, |_, _| ()).unwrap_err();
    assert_eq!(found.generation(), generation + 5);
    assert_eq!(window.ring.tail(), 1);
}
