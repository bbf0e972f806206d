//! Calls on rings, scopes and tensor maps.

use std::ptr::null_mut;

use super::super::api::ring::*;
use super::super::api::scopes::*;
use super::super::api::status::*;
use super::super::api::tensor_map::*;
use super::{Given, Input, MAP, RING, SCOPES, World, judge};

pub(super) fn ring(world: &World, input: &mut Input<'_>) {
    let given = world.pick(RING, input);
    let handle: *mut mr_ring = given.pointer();
    let (mut next, mut tail, mut active) = (0, 0, 0);
    let mut word = 77u64;
    // SAFETY: every pointer is that of a local.
    unsafe {
        match input.byte() % 5 {
            0 => {
                let mut at = mr_reservation { task: 77, slot: 0, generation: 0 };
                let done = judge(given, mr_ring_reserve(handle, &raw mut at));
                assert!(done || at.task == 77);
            }
            1 => {
                let (task, failed) = (input.number(), u32::from(input.byte() % 3));
                judge(given, mr_ring_complete(handle, task, failed));
            }
            2 => {
                judge(given, mr_ring_reclaim(handle, input.number(), &raw mut word));
            }
            what => {
                let scopes = world.pick(SCOPES, input);
                // Null means none here; a bad one is refused like a bad ring.
                let good = given.good && (scopes.good || scopes.handle == 0);
                let (both, heap) = (Given { good, ..given }, u32::from(input.byte() % 6));
                let status = if what == 3 {
                    let (bytes, task) = (input.number(), input.number());
                    let offset = &raw mut word;
                    // A slab of no bytes is refused before the handles are looked at.
                    let bytes = bytes.max(1);
                    mr_ring_heap_take(handle, scopes.pointer(), heap, bytes, task, offset)
                } else {
                    mr_ring_heap_reclaim(handle, scopes.pointer(), heap, &raw mut word)
                };
                let done = judge(both, status);
                assert!(done && heap < 4 || word == 77);
            }
        }
        let state = mr_ring_state(handle, &raw mut next, &raw mut tail, &raw mut active);
        if judge(given, state) {
            assert!(tail <= next && active == next - tail && active <= 1 << 16);
        }
    }
}

pub(super) fn scopes_and_map(world: &World, input: &mut Input<'_>) {
    let mut word = 77u64;
    let what = input.byte() % 8;
    // SAFETY: every pointer is that of a local.
    unsafe {
        if what < 3 {
            let given = world.pick(SCOPES, input);
            let handle: *mut mr_scopes = given.pointer();
            let (mut before, mut after, mut heap) = (0, 0, 9);
            judge(given, mr_scopes_state(handle, &raw mut before, null_mut()));
            let status = match what {
                0 | 1 => mr_scopes_begin(handle, input.number()),
                _ => mr_scopes_end(handle, &raw mut word),
            };
            let done = judge(given, status);
            if judge(given, mr_scopes_state(handle, &raw mut after, &raw mut heap)) {
                let expected = match (what, done) {
                    (_, false) => before,
                    (2, true) => before - 1,
                    (_, true) => before + 1,
                };
                assert!(after == expected && after <= 64);
                assert_eq!(heap as usize, after.saturating_sub(1).min(3));
            }
            return;
        }
        let given = world.pick(MAP, input);
        let handle: *mut mr_tensor_map = given.pointer();
        let accesses: Vec<mr_access> = (0..input.byte() % 4)
            .map(|_| {
                let (begin, tag) = (input.number(), i32::from(input.byte() % 6));
                mr_access { begin, end: begin.wrapping_add(input.number()), tag, padding: 0 }
            })
            .collect();
        let possible = accesses.iter().all(|a| a.begin < a.end && a.tag < 5);
        let (first, count) = (accesses.as_ptr(), accesses.len());
        match what {
            3 | 4 => {
                let (task, tail) = (input.number(), input.number());
                let status = mr_tensor_map_record(handle, first, count, task, tail);
                if status == MR_ERR_ARGUMENT {
                    assert!(!possible || task >= 1 << 62 || tail > task);
                } else {
                    judge(given, status);
                }
            }
            5 => {
                let none = mr_producer { task: 77, data: 0, padding: 0 };
                let (mut found, mut number) = ([none; 8], 77);
                let room = usize::from(input.byte() % 9);
                let to = found.as_mut_ptr();
                let status = mr_tensor_map_lookup(handle, first, count, to, room, &raw mut number);
                if status == MR_ERR_ARGUMENT {
                    assert!(!possible);
                } else if judge(given, status) {
                    assert!(number <= room);
                    assert!(found[..number].is_sorted_by(|a, b| a.task < b.task));
                } else {
                    assert!(number == 77 && found[0].task == 77);
                }
            }
            6 => {
                let done =
                    judge(given, mr_tensor_map_writer(handle, input.number(), &raw mut word));
                assert!(done || word == 77);
            }
            _ => {
                let (begin, end) = (input.number(), input.number());
                let status = mr_tensor_map_erase(handle, begin, end);
                if begin < end {
                    judge(given, status);
                } else {
                    assert_eq!(status, MR_ERR_ARGUMENT);
                }
            }
        }
        let mut len = 0;
        judge(given, mr_tensor_map_len(handle, &raw mut len));
    }
}
