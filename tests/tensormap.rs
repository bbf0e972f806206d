//! Which earlier tasks a task waits for. Strict: by every byte. Compatible: by the tag table of
//! simpler (`docs/compatibility.md`).

use mailring::abi::TensorArgType::{self, InOut, Input, NoDep, Output, OutputExisting};
use mailring::abi::{ContinuousTensor, DataType};
use mailring::graph::{Access, Dependencies, Producer, TensorMap};
use mailring::{Error, Hazards, Mode};
use testkit::{BOTH, Random, args, at, bodies, config, failure, small};

testkit::tests! {
    "tensormap" in crate {
        empty_knows_nobody, a_writer_is_found, the_last_writer_wins, erase_forgets_a_range_only,
        erasing_nothing, a_hundred_ranges, many_ranges_are_swept,
        read_after_write, write_after_write, write_after_read, reads_do_not_wait_for_reads,
        a_write_supersedes_its_readers, no_dep_is_not_looked_at, disjoint_ranges_are_free,
        one_shared_byte_is_enough, tiles_of_a_row, a_view_inside_a_view, a_view_around_views,
        a_superseded_producer_keeps_the_newer_mapping, part_of_a_range_is_overwritten,
        the_same_task_is_named_once, data_outweighs_order, own_arguments_do_not_wait,
        compatible_tag_table, compatible_knows_first_bytes_only, compatible_order_of_arguments,
        compatible_erase, like_a_map_of_single_bytes, overlaps_through_a_run,
        compatible_has_no_edge_through_a_run,
        compatible_empty_tensors_are_keys, compatible_keys_of_many_arguments,
        compatible_keys_are_swept, compatible_forgets_keys_inside_a_reused_slab,
        compatible_empty_tensors_through_a_run, empty_ranges_are_nothing,
        finished_tiles_join_when_they_are_read, tiles_join_up_to_what_is_alive,
        like_a_map_of_single_bytes_while_tasks_leave, tiles_of_a_failed_run_stay_apart,
        reads_of_many_finished_tiles_through_a_run, like_a_map_of_single_bytes_among_many,
        like_a_map_of_single_bytes_with_many_joined, gates_of_parts_that_are_written_again,
        steps_of_a_task_do_not_grow,
    }
}

/// A map, and what its tasks are to wait for.
struct Map {
    map: TensorMap,
    next: u64,
    tail: u64,
}

impl Map {
    fn new(hazards: Hazards) -> Self {
        Self { map: TensorMap::new(hazards), next: 0, tail: 0 }
    }

    fn strict() -> Self {
        Self::new(Hazards::Strict)
    }

    fn compatible() -> Self {
        Self::new(Hazards::Compatible)
    }

    /// Submits a task; the result is whom it waits for: `(task, whether for its data)`.
    fn task(&mut self, accesses: &[(TensorArgType, u64, u64)]) -> Vec<(u64, bool)> {
        let mut accesses: Vec<Access> =
            accesses.iter().map(|&(tag, from, to)| Access::new(from..to, tag)).collect();
        let mut found = Dependencies::default();
        self.map.lookup(&mut accesses, &mut found);
        let found = found.settle().iter().map(|&Producer { task, data }| (task, data)).collect();
        self.map.record(&accesses, self.next, self.tail);
        self.next += 1;
        found
    }
}

const NOBODY: [(u64, bool); 0] = [];

fn empty_knows_nobody() {
    for map in [Map::strict().map, Map::compatible().map] {
        assert!(map.is_empty());
        assert_eq!((map.writer(0), map.writer(4096)), (None, None));
    }
    assert_eq!(Map::strict().task(&[(InOut, 0, 100)]), NOBODY);
}

fn a_writer_is_found() {
    for mut map in [Map::strict(), Map::compatible()] {
        map.task(&[(Output, 64, 128)]);
        assert_eq!(map.map.len(), 1);
        assert_eq!((map.map.writer(64), map.map.writer(128)), (Some(0), None));
        assert_eq!(map.task(&[(Input, 64, 128)]), [(0, true)]);
    }
}

fn the_last_writer_wins() {
    for mut map in [Map::strict(), Map::compatible()] {
        (0..5).for_each(|_| _ = map.task(&[(Output, 64, 128)]));
        assert_eq!((map.map.writer(64), map.map.len()), (Some(4), 1));
        assert_eq!(map.task(&[(Input, 64, 128)]), [(4, true)]);
    }
}

fn erase_forgets_a_range_only() {
    let mut map = Map::strict();
    (0..4).for_each(|i| _ = map.task(&[(Output, i * 10, i * 10 + 10)]));
    map.map.erase(&(10..25));
    let writers: Vec<_> = [0, 9, 10, 20, 24, 25, 29, 30].map(|at| map.map.writer(at)).into();
    let expected = [Some(0), Some(0), None, None, None, Some(2), Some(2), Some(3)];
    assert_eq!(writers, expected);
}

fn erasing_nothing() {
    for mut map in [Map::strict(), Map::compatible()] {
        map.task(&[(Output, 64, 128)]);
        map.map.erase(&(128..1000));
        map.map.erase(&(0..64));
        assert_eq!(map.map.writer(64), Some(0));
    }
}

fn a_hundred_ranges() {
    for mut map in [Map::strict(), Map::compatible()] {
        (0..100).for_each(|i| assert_eq!(map.task(&[(Output, i * 64, i * 64 + 64)]), NOBODY));
        assert_eq!(map.map.len(), 100);
        for i in (0..100).rev() {
            assert_eq!(map.task(&[(Input, i * 64, i * 64 + 64)]), [(i, true)]);
        }
        assert_eq!(map.map.len(), 100);
    }
}

/// The map stays about as large as what is alive, and what is alive stays in it.
fn many_ranges_are_swept() {
    let mut map = Map::strict();
    for i in 0..100_000u64 {
        map.tail = i.saturating_sub(100);
        map.task(&[(Output, i * 16, i * 16 + 9), (Input, i * 16 + 9, i * 16 + 16)]);
    }
    assert!(map.map.len() < 20_000, "{} ranges for 100 tasks", map.map.len());
    let i = 99_950;
    assert_eq!(map.map.writer(i * 16), Some(i));
}

// ---- strict -------------------------------------------------------------------------------------

fn read_after_write() {
    for tag in [Output, InOut, OutputExisting] {
        let mut map = Map::strict();
        map.task(&[(tag, 0, 8)]);
        assert_eq!(map.task(&[(Input, 0, 8)]), [(0, true)]);
        assert_eq!(map.task(&[(Input, 0, 8)]), [(0, true)], "every reader, not the first alone");
    }
}

fn write_after_write() {
    for tag in [Output, OutputExisting] {
        let mut map = Map::strict();
        map.task(&[(Output, 0, 8)]);
        assert_eq!(map.task(&[(tag, 0, 8)]), [(0, false)], "must come later, does not read");
    }
    let mut map = Map::strict();
    map.task(&[(Output, 0, 8)]);
    assert_eq!(map.task(&[(InOut, 0, 8)]), [(0, true)]);
}

fn write_after_read() {
    for tag in [Output, InOut, OutputExisting] {
        let mut map = Map::strict();
        map.task(&[(Input, 0, 8)]);
        map.task(&[(Input, 0, 8)]);
        assert_eq!(map.task(&[(tag, 0, 8)]), [(0, false), (1, false)]);
    }
}

fn reads_do_not_wait_for_reads() {
    let mut map = Map::strict();
    (0..50).for_each(|_| assert_eq!(map.task(&[(Input, 0, 8)]), NOBODY));
    assert_eq!(map.task(&[(Output, 4, 5)]).len(), 50);
}

fn a_write_supersedes_its_readers() {
    let mut map = Map::strict();
    map.task(&[(Output, 0, 8)]);
    map.task(&[(Input, 0, 8)]);
    map.task(&[(Output, 0, 8)]);
    assert_eq!(map.task(&[(Output, 0, 8)]), [(2, false)], "task 2 waits for the others already");
}

fn no_dep_is_not_looked_at() {
    for mut map in [Map::strict(), Map::compatible()] {
        map.task(&[(InOut, 0, 8)]);
        assert_eq!(map.task(&[(NoDep, 0, 8)]), NOBODY);
        assert_eq!(map.task(&[(InOut, 0, 8)]), [(0, true)], "and leaves no trace");
    }
}

/// Views of one backing buffer that share nothing do not wait for each other.
fn disjoint_ranges_are_free() {
    let mut map = Map::strict();
    for i in [3, 0, 7, 1, 6, 2, 5, 4] {
        assert_eq!(map.task(&[(InOut, i * 8, i * 8 + 8)]), NOBODY);
    }
}

/// And views that share one byte do, whatever their base addresses.
fn one_shared_byte_is_enough() {
    for (from, to, shares) in
        [(0, 8, false), (0, 9, true), (15, 30, true), (16, 30, false), (9, 10, true), (0, 99, true)]
    {
        let mut map = Map::strict();
        map.task(&[(Output, 8, 16)]);
        let expected: &[_] = if shares { &[(0, true)] } else { &[] };
        assert_eq!(map.task(&[(Input, from, to)]), expected, "{from}..{to}");
    }
}

fn tiles_of_a_row() {
    let mut map = Map::strict();
    (0..10).for_each(|i| _ = map.task(&[(Output, i * 10, i * 10 + 10)]));
    assert_eq!(map.task(&[(Input, 25, 51)]), [2, 3, 4, 5].map(|task| (task, true)));
    // A gap in the middle is nobody's.
    let mut map = Map::strict();
    map.task(&[(Output, 0, 10)]);
    map.task(&[(Output, 20, 30)]);
    assert_eq!(map.task(&[(Input, 10, 20)]), NOBODY);
    assert_eq!(map.task(&[(Output, 5, 25)]), [(0, false), (1, false), (2, false)]);
}

fn a_view_inside_a_view() {
    let mut map = Map::strict();
    map.task(&[(Output, 0, 100)]);
    map.task(&[(Output, 40, 60)]);
    assert_eq!(map.task(&[(Input, 0, 40)]), [(0, true)]);
    assert_eq!(map.task(&[(Input, 45, 50)]), [(1, true)]);
    assert_eq!(map.task(&[(Input, 60, 100)]), [(0, true)]);
    assert_eq!(map.task(&[(Input, 0, 100)]), [(0, true), (1, true)]);
}

fn a_view_around_views() {
    let mut map = Map::strict();
    map.task(&[(Output, 10, 20)]);
    map.task(&[(Input, 30, 40)]);
    map.task(&[(Output, 0, 50)]);
    for (from, to) in [(0, 10), (10, 20), (30, 40), (0, 50), (19, 21)] {
        assert_eq!(map.task(&[(Input, from, to)]), [(2, true)], "{from}..{to}");
    }
}

/// That an older writer is through and leaves must not hide the newer one.
fn a_superseded_producer_keeps_the_newer_mapping() {
    for mut map in [Map::strict(), Map::compatible()] {
        map.task(&[(Output, 0, 8)]);
        map.task(&[(InOut, 0, 8)]);
        map.tail = 1; // task 0 has left the window
        map.task(&[(Output, 100, 108)]);
        assert_eq!(map.map.writer(0), Some(1));
        assert_eq!(map.task(&[(Input, 0, 8)]), [(1, true)]);
    }
}

fn part_of_a_range_is_overwritten() {
    let mut map = Map::strict();
    map.task(&[(Output, 0, 100)]);
    map.task(&[(Input, 0, 100)]);
    map.task(&[(Output, 30, 31)]);
    assert_eq!(map.task(&[(Output, 29, 30)]), [(0, false), (1, false)]);
    assert_eq!(map.task(&[(Output, 30, 31)]), [(2, false)]);
    assert_eq!(map.task(&[(Output, 31, 32)]), [(0, false), (1, false)]);
}

fn the_same_task_is_named_once() {
    let mut map = Map::strict();
    map.task(&[(Output, 0, 8), (Output, 16, 24), (Output, 32, 40)]);
    assert_eq!(map.task(&[(Input, 0, 8), (Input, 16, 24), (Input, 0, 100)]), [(0, true)]);
}

fn data_outweighs_order() {
    let mut map = Map::strict();
    map.task(&[(Output, 0, 8), (Output, 8, 16)]);
    assert_eq!(map.task(&[(Output, 0, 8), (Input, 8, 16)]), [(0, true)]);
}

fn own_arguments_do_not_wait() {
    for mut map in [Map::strict(), Map::compatible()] {
        let all = [(Input, 0, 8), (Output, 0, 8), (InOut, 0, 8), (Input, 0, 8)];
        assert_eq!(map.task(&all), NOBODY);
        assert_eq!(map.map.writer(0), Some(0));
    }
}

// ---- compatible ---------------------------------------------------------------------------------

/// Every tag after every tag, as the tag table has it.
fn compatible_tag_table() {
    let all = [Input, Output, InOut, OutputExisting, NoDep];
    for first in all {
        for second in all {
            let mut map = Map::compatible();
            map.task(&[(first, 64, 72)]);
            let found = map.task(&[(second, 64, 72)]);
            let edge =
                matches!(first, Output | InOut | OutputExisting) && matches!(second, Input | InOut);
            assert_eq!(found.len(), usize::from(edge), "{second:?} after {first:?}");
            assert!(found.iter().all(|&(task, data)| task == 0 && data));
            // Who is the producer now?
            let expected = match (first, second) {
                (_, Output | InOut | OutputExisting) => Some(1),
                (Output | InOut | OutputExisting, _) => Some(0),
                _ => None,
            };
            assert_eq!(map.map.writer(64), expected, "{second:?} after {first:?}");
        }
    }
}

fn compatible_knows_first_bytes_only() {
    let mut map = Map::compatible();
    map.task(&[(Output, 64, 128)]);
    assert_eq!(map.task(&[(Input, 65, 66)]), NOBODY);
    assert_eq!(map.task(&[(Input, 0, 1000)]), NOBODY);
    assert_eq!(map.task(&[(Input, 64, 65)]), [(0, true)]);
}

fn compatible_order_of_arguments() {
    let mut map = Map::compatible();
    map.task(&[(Output, 64, 72)]);
    assert_eq!(map.task(&[(Input, 64, 72), (Output, 64, 72)]), [(0, true)]);
    assert_eq!(map.task(&[(Output, 64, 72), (Input, 64, 72)]), NOBODY, "its own output hides it");
    assert_eq!(map.task(&[(NoDep, 64, 72), (Input, 64, 72)]), [(2, true)]);
    assert_eq!(map.task(&[(Output, 80, 88), (Input, 64, 72)]), [(2, true)]);
}

fn compatible_erase() {
    let mut map = Map::compatible();
    (0..10).for_each(|i| _ = map.task(&[(Output, i * 8, i * 8 + 8)]));
    map.map.erase(&(16..40));
    let left: Vec<u64> = (0..10).filter(|i| map.map.writer(i * 8).is_some()).collect();
    assert_eq!(left, [0, 1, 5, 6, 7, 8, 9]);
}

// ---- at random, and through a run ---------------------------------------------------------------

/// The plain way to know it: a writer and readers for each byte.
#[derive(Clone, Default)]
struct Byte {
    writer: Option<u64>,
    readers: Vec<u64>,
}

fn like_a_map_of_single_bytes() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let mut bytes = vec![Byte::default(); 64];
        let mut map = Map::strict();
        for task in 0..120u64 {
            let mut accesses = Vec::new();
            for _ in 0..1 + random.below(4) {
                let tag = [Input, Output, InOut, OutputExisting, NoDep][random.below(5)];
                let from = random.below(64);
                let most = if random.chance(20) { 64 - from } else { 8.min(64 - from) };
                let to = from + 1 + random.below(most);
                accesses.push((tag, from as u64, to as u64));
            }
            let mut expected = std::collections::BTreeMap::<u64, bool>::new();
            for &(tag, from, to) in accesses.iter().filter(|a| a.0 != NoDep) {
                for byte in &bytes[from as usize..to as usize] {
                    if let Some(writer) = byte.writer {
                        *expected.entry(writer).or_default() |= tag.reads();
                    }
                    if tag.writes() {
                        for &reader in &byte.readers {
                            expected.entry(reader).or_default();
                        }
                    }
                }
            }
            for writes in [false, true] {
                for &(tag, from, to) in accesses.iter().filter(|a| a.0 != NoDep) {
                    for byte in &mut bytes[from as usize..to as usize] {
                        if writes && tag.writes() {
                            *byte = Byte { writer: Some(task), readers: Vec::new() };
                        } else if !writes && tag == Input {
                            byte.readers.push(task);
                        }
                    }
                }
            }
            let expected: Vec<_> = expected.into_iter().collect();
            assert_eq!(map.task(&accesses), expected, "seed {seed}, task {task}: {accesses:?}");
        }
    }
}

/// A matrix as a whole, by rows, by overlapping windows: every sum is right.
fn overlaps_through_a_run() {
    for mode in BOTH {
        let mut builder = small(mode, 3);
        let add = builder.register("add", bodies::add_one_to_each).unwrap();
        let exec = builder.build().unwrap();
        let data = exec.buffer::<u64>(100).unwrap();
        let mut expected = [0u64; 100];
        let mut random = Random(5);
        exec.run(|orch| {
            for _ in 0..3000 {
                let from = random.below(100);
                let len = 1 + random.below((100 - from).min(12));
                expected[from..from + len].iter_mut().for_each(|v| *v += 1);
                let part = data.view(from, &[len as u32])?;
                orch.submit(add, args().inout(part), config())?;
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(data.to_vec().unwrap(), expected);
    }
}

/// The same graph in both modes: an output after a failed output waits in neither, a reader of a
/// sub-view of what failed is reached in strict mode only.
fn compatible_has_no_edge_through_a_run() {
    for mode in BOTH {
        for (hazards, expected) in [(Hazards::Strict, [1, 0, 0]), (Hazards::Compatible, [1, 1, 0])]
        {
            let mut builder = small(mode, 1).hazards(hazards);
            let fail = builder.register("fail", bodies::fail).unwrap();
            let mark = builder.register("mark", |args, _, _| args.set(1, 0, 1u64)).unwrap();
            let exec = builder.build().unwrap();
            let data = exec.buffer::<u64>(12).unwrap();
            let ran = exec.buffer::<u64>(3).unwrap();
            failure(exec.run(|orch| {
                let three = [data.view(0, &[4])?, data.view(4, &[4])?, data.view(8, &[4])?];
                for whole in three {
                    orch.submit(fail, args().output(whole), config())?;
                }
                let mut mark = |first: mailring::abi::TaskArgs, i| -> Result<(), Error> {
                    orch.submit(mark, first.no_dep(at(&ran, i)), config()).map(drop)
                };
                mark(args().output(three[0]), 0)?;
                mark(args().input(at(&data, 5)), 1)?;
                mark(args().input(three[2]), 2)
            }));
            assert_eq!(ran.to_vec().unwrap(), expected, "{mode:?} {hazards:?}");
        }
    }
}

// ---- keys of compatible hazards -----------------------------------------------------------------

fn compatible_empty_tensors_are_keys() {
    let mut map = Map::compatible();
    map.task(&[(OutputExisting, 64, 64)]);
    assert_eq!(map.map.writer(64), Some(0));
    assert_eq!(map.task(&[(Input, 64, 72)]), [(0, true)]);
    assert_eq!(map.task(&[(InOut, 64, 64)]), [(0, true)]);
    assert_eq!(map.task(&[(Input, 64, 64)]), [(2, true)]);
}

fn empty_ranges_are_nothing() {
    let mut map = Map::strict();
    map.task(&[(Output, 0, 100)]);
    for tag in [Input, Output, InOut, OutputExisting] {
        assert_eq!(map.task(&[(tag, 50, 50)]), NOBODY, "{tag:?}");
    }
    assert_eq!((map.map.len(), map.map.writer(50)), (1, Some(0)));
}

/// As many arguments as a task descriptor holds take about as long each as a few; and an output
/// still hides the writer before it, wherever it stands.
fn compatible_keys_of_many_arguments() {
    let mut map = Map::compatible();
    let key = |i: u64| (i * 8, i * 8 + 8);
    let many = |tag| (0..50_000).map(|i| (tag, key(i).0, key(i).1)).collect::<Vec<_>>();
    let began = std::time::Instant::now();
    assert_eq!(map.task(&many(InOut)), NOBODY);
    assert_eq!(map.task(&many(InOut)), [(0, true)]);
    map.task(&[(Output, 80, 88)]);
    let mut mixed = vec![(OutputExisting, 80, 88)];
    mixed.extend(many(Input));
    assert_eq!(map.task(&mixed), [(1, true)], "task 2 is hidden by the output in front");
    mixed.rotate_left(1);
    assert_eq!(map.task(&mixed), [(1, true), (3, true)], "and is not by one behind");
    let took = began.elapsed();
    assert!(took < std::time::Duration::from_millis(1500), "{took:?} for 200,000 arguments");
}

fn compatible_keys_are_swept() {
    let mut map = Map::compatible();
    for i in 0..300_000u64 {
        map.tail = i.saturating_sub(100);
        map.task(&[(Output, i * 8, i * 8 + 8)]);
    }
    assert!(map.map.len() < 150_000, "{} keys for 100 tasks", map.map.len());
    assert_eq!(map.map.writer(299_950 * 8), Some(299_950));
    map.map.erase(&(0..299_990 * 8));
    assert_eq!(map.map.len(), 10);
}

/// Whoever gets a slab gets nothing of what was known of bytes inside of it.
fn compatible_forgets_keys_inside_a_reused_slab() {
    for mode in BOTH {
        let mut builder = small(mode, 1).hazards(Hazards::Compatible).heap_bytes(2048);
        let fail = builder.register("fail", bodies::fail).unwrap();
        let nop = builder.register("nop", bodies::nop).unwrap();
        let exec = builder.build().unwrap();
        let new = |len| ContinuousTensor::new(0, &[len], DataType::Uint8).unwrap();
        let part = |whole: ContinuousTensor, at| {
            ContinuousTensor::new(whole.data() + at, &[8], DataType::Uint8).unwrap()
        };
        let failed = failure(exec.run(|orch| {
            let old = orch.scope(|orch| {
                let made = orch.submit(nop, args().output(new(1024)), config())?.tensor(0)?;
                orch.submit(fail, args().output_existing(part(made, 512)), config())?;
                Ok(made.data())
            })?;
            let mut met = 0;
            for _ in 0..6 {
                orch.scope(|orch| {
                    let made = orch.submit(nop, args().output(new(1024)), config())?.tensor(0)?;
                    met += usize::from(made.data() == old);
                    let inner = orch.submit(nop, args().inout(part(made, 512)), config())?;
                    orch.wait(&inner)
                })?;
            }
            assert!(met > 0, "the slab was reused");
            Ok(())
        }));
        assert_eq!(failed.name, "fail", "nobody else has failed");
    }
}

fn compatible_empty_tensors_through_a_run() {
    for (hazards, waits) in [(Hazards::Compatible, true), (Hazards::Strict, false)] {
        let mut builder = small(Mode::Process, 1).hazards(hazards);
        let fail = builder.register("fail", bodies::fail).unwrap();
        let nop = builder.register("nop", bodies::nop).unwrap();
        let exec = builder.build().unwrap();
        let data = exec.buffer::<u64>(8).unwrap();
        let empty = data.view(4, &[0]).unwrap();
        let reached = std::cell::Cell::new(false);
        failure(exec.run(|orch| {
            orch.submit(fail, args().output_existing(empty), config())?;
            let after = orch.submit(nop, args().input(empty), config())?;
            match orch.wait(&after) {
                Ok(()) => {}
                ended => reached.set(failure(ended).name == "fail"),
            }
            Ok(())
        }));
        assert_eq!(reached.get(), waits, "{hazards:?}");
    }
}

// ---- what is left of tasks that are through -----------------------------------------------------

const TILES: u64 = 2000;

fn tiles(map: &mut Map) {
    (0..TILES).for_each(|i| _ = map.task(&[(Output, i * 16, i * 16 + 16)]));
}

fn finished_tiles_join_when_they_are_read() {
    let mut map = Map::strict();
    tiles(&mut map);
    map.tail = map.next;
    map.task(&[(Input, 0, TILES * 16)]);
    assert_eq!(map.map.len(), 1, "nothing is left between the tiles");
    assert_eq!(map.task(&[(Output, 32, 48)]), [(TILES, false)]);
    assert_eq!(map.task(&[(Input, 0, TILES * 16)]), [(TILES + 1, true)]);
    // The same around gaps that nobody wrote, and with a part that was read meanwhile.
    let mut map = Map::strict();
    (0..100).for_each(|i| _ = map.task(&[(Output, i * 32, i * 32 + 16)]));
    map.tail = map.next;
    map.task(&[(Input, 320, 336)]);
    map.task(&[(Input, 0, 3200)]);
    assert_eq!(map.map.len(), 3);
    assert_eq!(map.task(&[(Output, 320, 321)]), [(100, false), (101, false)]);
    assert_eq!(map.task(&[(Output, 400, 401)]), [(101, false)]);
}

fn tiles_join_up_to_what_is_alive() {
    let mut map = Map::strict();
    tiles(&mut map);
    map.tail = TILES - 3;
    let live = [TILES - 3, TILES - 2, TILES - 1];
    let found = map.task(&[(Input, 0, TILES * 16)]);
    let live_found: Vec<_> = found.into_iter().filter(|&(task, _)| task >= map.tail).collect();
    assert_eq!(live_found, live.map(|task| (task, true)));
    assert_eq!(map.map.len(), 4, "those that may still run, and one for all others");
    for (i, task) in (TILES - 3..TILES).zip(live) {
        assert_eq!(map.map.writer(i * 16), Some(task));
    }
    assert_eq!(map.map.writer(0), None);
    // A second reader on top: the same segments, each with both.
    map.task(&[(Input, 0, TILES * 16)]);
    assert_eq!(map.map.len(), 4);
    assert_eq!(map.task(&[(Output, 0, 1)]), [(TILES, false), (TILES + 1, false)]);
}

/// The failure of a tile reaches a read of all of them, also when its task has left the window.
fn tiles_of_a_failed_run_stay_apart() {
    let mut map = Map::strict();
    tiles(&mut map);
    map.tail = map.next;
    map.map.keep_from(0);
    map.task(&[(Input, 0, TILES * 16)]);
    assert_eq!(map.task(&[(Input, 160, 176)]), [(10, true)]);
    assert_eq!(map.task(&[(Input, 0, TILES * 16)]).len() as u64, TILES);
}

fn like_a_map_of_single_bytes_while_tasks_leave() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut bytes = vec![Byte::default(); 96];
        let mut map = Map::strict();
        for task in 0..200u64 {
            if random.chance(20) {
                map.tail = map.tail.max(task.saturating_sub(random.below(40) as u64));
            }
            // Many single bytes, so that there is something to join, and reads of large parts.
            let tag = [Input, Output, InOut][random.below(3)];
            let len = if random.chance(75) { 1 } else { 1 + random.below(96) };
            let from = random.below(97 - len);
            let (from, to) = (from as u64, (from + len) as u64);
            let mut expected = std::collections::BTreeMap::<u64, bool>::new();
            for byte in &mut bytes[from as usize..to as usize] {
                if let Some(writer) = byte.writer {
                    *expected.entry(writer).or_default() |= tag.reads();
                }
                if tag == Input {
                    byte.readers.push(task);
                    continue;
                }
                for &reader in &byte.readers {
                    expected.entry(reader).or_default();
                }
                *byte = Byte { writer: Some(task), readers: Vec::new() };
            }
            let tail = map.tail;
            let live = |pairs: Vec<(u64, bool)>| -> Vec<(u64, bool)> {
                pairs.into_iter().filter(|&(task, _)| task >= tail).collect()
            };
            let expected = live(expected.into_iter().collect());
            let found = live(map.task(&[(tag, from, to)]));
            assert_eq!(found, expected, "seed {seed}, task {task}: {tag:?} {from}..{to}");
        }
    }
}

/// Rows and cells of a matrix, all of it, and any part, while tasks leave and memory is given to
/// others.
fn like_a_map_of_single_bytes_among_many() {
    among_many(None);
}

/// The same, with one task in the place of more than a few.
fn like_a_map_of_single_bytes_with_many_joined() {
    for few in [2, 20] {
        among_many(Some(few));
    }
}

/// Tasks that run nothing, and whom each waits for.
#[derive(Default)]
struct Joins(std::collections::BTreeMap<u64, Vec<Producer>>);

impl Joins {
    /// Has one wait for what a task with this access would have to wait for.
    fn join(&mut self, map: &mut Map, access: (TensorArgType, u64, u64), few: usize) {
        let (tag, from, to) = access;
        let Map { map, next, tail } = map;
        map.join_many(&[Access::new(from..to, tag)], *tail, few, &mut |producers| {
            assert!(producers.len() > few);
            assert!(producers.iter().all(|p| p.task < *next && p.task >= *tail), "{producers:?}");
            self.0.insert(*next, producers.to_vec());
            *next += 1;
            Some(*next - 1)
        });
    }

    /// The tasks themselves in the place of those that wait for them.
    fn resolve(&self, found: &[(u64, bool)]) -> std::collections::BTreeMap<u64, bool> {
        let mut all = std::collections::BTreeMap::<u64, bool>::new();
        let (mut open, mut seen) = (found.to_vec(), std::collections::BTreeSet::new());
        while let Some((task, data)) = open.pop() {
            match self.0.get(&task) {
                Some(joined) if seen.insert((task, data)) => {
                    open.extend(joined.iter().map(|p| (p.task, data && p.data)));
                }
                Some(_) => {}
                None => *all.entry(task).or_default() |= data,
            }
        }
        all
    }
}

fn among_many(joined: Option<usize>) {
    let seeds = if joined.is_some() { 6 } else { 30 };
    let mut joins_of_all = 0;
    const ROW: usize = 90;
    const ALL: usize = 40 * ROW;
    for seed in 0..seeds {
        let mut random = Random(seed);
        let mut bytes = vec![Byte::default(); ALL];
        let mut map = Map::strict();
        let mut joins = Joins::default();
        // Whom each task waits for.
        let mut waits = std::collections::BTreeMap::<u64, Vec<u64>>::new();
        let lag = [20, 200, 1500][random.below(3)];
        // Of so many that come next, most read all of it. (Who joins readers of two lives of a byte may
        // have it waited for those of the first.)
        let mut again = 0u32;
        let in_turn = joined.is_none() || seed % 2 == 1;
        for task in 0..1500u64 {
            if random.chance(5) {
                map.tail = map.tail.max(task.saturating_sub(random.below(lag) as u64));
                for byte in &mut bytes {
                    byte.readers.retain(|&reader| reader >= map.tail);
                }
            }
            let (row, cell) = (random.below(ALL / ROW) * ROW, random.below(ALL - 2));
            again = again.saturating_sub(1);
            let drawn = if again > 0 && random.chance(70) { 16 } else { random.below(20) };
            if drawn == 16 && again == 0 && in_turn {
                again = random.below(12) as u32;
            }
            let (from, to, tag) = match drawn {
                0..=8 => (cell, cell + 1 + random.below(2), [Output, InOut][random.below(2)]),
                9..=10 => (cell, cell + 1, Input),
                11..=15 => (row, row + ROW, Input),
                16 => (0, ALL, Input),
                17 => (row, row + ROW, Output),
                18 => {
                    (cell, (cell + 1 + random.below(ALL)).min(ALL), [Input, InOut][random.below(2)])
                }
                _ if joined.is_some() && in_turn => continue,
                _ => {
                    let range = cell..(cell + 1 + random.below(ROW)).min(ALL);
                    map.map.erase(&(range.start as u64..range.end as u64));
                    bytes[range].fill(Byte::default());
                    continue;
                }
            };
            if let Some(few) = joined {
                joins.join(&mut map, (tag, from as u64, to as u64), few);
            }
            let task = map.next;
            let mut expected = std::collections::BTreeMap::<u64, bool>::new();
            for byte in &mut bytes[from..to] {
                if let Some(writer) = byte.writer {
                    *expected.entry(writer).or_default() |= tag.reads();
                }
                if tag == Input {
                    byte.readers.push(task);
                    continue;
                }
                for &reader in &byte.readers {
                    expected.entry(reader).or_default();
                }
                *byte = Byte { writer: Some(task), readers: Vec::new() };
            }
            let tail = map.tail;
            expected.retain(|&task, _| task >= tail);
            let mut found = joins.resolve(&map.task(&[(tag, from as u64, to as u64)]));
            found.retain(|&task, _| task >= tail);
            // Readers before the writer of a byte, for whom that one waits, may be waited for again.
            let more = |task: &u64, data: bool| !data && !expected.contains_key(task);
            let oldest = found.iter().find(|&(task, &data)| more(task, data));
            if joined.is_some()
                && tag != Input
                && let Some((&oldest, _)) = oldest
            {
                let mut behind: Vec<u64> = expected.keys().copied().collect();
                let mut before = std::collections::BTreeSet::new();
                while let Some(task) = behind.pop() {
                    let own = waits.get(&task).into_iter().flatten().copied();
                    behind.extend(own.filter(|&task| task >= oldest && before.insert(task)));
                }
                found.retain(|task, data| !more(task, *data) || !before.contains(task));
            }
            if joined.is_some() {
                waits.insert(task, expected.keys().copied().collect());
            }
            assert_eq!(found, expected, "seed {seed}, task {task}: {tag:?} {from}..{to}");
        }
        joins_of_all += joins.0.len();
    }
    assert_eq!(joined.is_some(), joins_of_all > 0);
}

/// Who reads all of what many write waits for one task; once a part was written again, for those who
/// have written, and for nobody whom they have superseded.
fn gates_of_parts_that_are_written_again() {
    const PARTS: u64 = 600;
    let (mut map, mut joins) = (Map::strict(), Joins::default());
    let all = (Input, 0, PARTS);
    (0..PARTS).for_each(|part| _ = map.task(&[(Output, part, part + 1)]));
    joins.join(&mut map, all, 47);
    for _ in 0..3 {
        assert_eq!(map.task(&[all]), [(PARTS, true)]);
        assert_eq!(map.task(&[(Input, 10, PARTS)]).len() as u64, PARTS - 10);
    }
    for _ in 0..3 {
        assert_eq!(map.task(&[all]), [(PARTS, true)]);
    }
    // Ten readers: those of the end twice.
    assert_eq!(map.task(&[(Output, 300, 301)]).len(), 10);
    let now = map.next - 1;
    let found = map.task(&[all]);
    assert_eq!(found.len() as u64, PARTS);
    assert!(found.contains(&(now, true)) && !found.iter().any(|&(task, _)| task == 300));
    joins.join(&mut map, all, 47);
    let gate = map.next - 1;
    assert_eq!(map.task(&[all]), [(gate, true)]);
    assert_eq!(joins.resolve(&[(gate, true)]).into_iter().collect::<Vec<_>>(), found);
}

/// Steps of a task, on the average over 20,000 that leave the window 1,000 tasks later.
fn steps(mut task: impl FnMut(&mut Map, u64)) -> f64 {
    const TASKS: u64 = 20_000;
    let mut map = Map::strict();
    for i in 0..TASKS {
        if i % 250 == 0 {
            map.tail = map.next.saturating_sub(1000);
        }
        task(&mut map, i);
    }
    map.map.steps() as f64 / TASKS as f64
}

/// Each pattern among few parts and among many.
fn steps_of_a_task_do_not_grow() {
    let distinct =
        |all: u64| steps(|map, i| _ = map.task(&[(InOut, i % all * 64, i % all * 64 + 64)]));
    // Scattered, so that none continues another.
    let scattered = |all: u64| {
        steps(|map, i| {
            let at = i % all * 7919 % all * 64;
            map.task(&[(InOut, at, at + 64)]);
        })
    };
    // All parts are written once, and then read as a whole.
    let whole = |parts: u64| {
        steps(|map, i| {
            _ = match i < parts {
                true => map.task(&[(Output, i * 64, i * 64 + 64)]),
                false => map.task(&[(Input, 0, parts * 64)]),
            }
        })
    };
    // A part is written, and all of them are read, in turns.
    let changing = |parts: u64| {
        steps(|map, i| {
            let part = i / 2 % parts * 64;
            _ = match i % 2 {
                0 => map.task(&[(Output, part, part + 64)]),
                _ => map.task(&[(Input, 0, parts * 64)]),
            }
        })
    };
    // Rows are read, tiles of a row and cells are written.
    let matrix = |n: u64| {
        let mut random = Random(3);
        steps(|map, i| {
            let row = random.below(n as usize) as u64 * n * 8;
            let cell = row + random.below(n as usize) as u64 * 8;
            let tile = (cell + 4 * 8).min(row + n * 8);
            _ = match i % 3 {
                0 => map.task(&[(Input, row, row + n * 8)]),
                1 => map.task(&[(InOut, cell, tile)]),
                _ => map.task(&[(Output, cell, cell + 8)]),
            }
        })
    };
    // Of the parts, at most 1,000 are named by tasks in the window: those are looked at one by one.
    for (what, few, many, most) in [
        ("distinct", distinct(100), distinct(1_000_000), 4.0),
        ("scattered", scattered(1000), scattered(1_000_003), 6.0),
        ("whole", whole(64), whole(4096), 60.0),
        ("changing", changing(64), changing(4096), 400.0),
        ("matrix", matrix(16), matrix(256), 24.0),
    ] {
        println!("{what}: {few:.1} and {many:.1} steps");
        assert!(few.max(many) <= most, "{what}: {few:.1} and {many:.1} steps, not {most}");
    }
}

/// Whole reads cost about the same whether the bytes were written by one task or by many that are
/// long through.
fn reads_of_many_finished_tiles_through_a_run() {
    let tiles = 20_000usize;
    let mut builder = small(Mode::Process, 1).buffer_bytes(32 << 20).slot_window(4096);
    let nop = builder.register("nop", bodies::nop).unwrap();
    let exec = builder.build().unwrap();
    let data = exec.buffer::<u64>(tiles * 8).unwrap();
    exec.run(|orch| {
        for tile in 0..tiles {
            let part = data.view(tile * 8, &[8])?;
            orch.submit(nop, args().output(part), config())?;
        }
        Ok(())
    })
    .unwrap();
    let began = std::time::Instant::now();
    exec.run(|orch| {
        (0..2000)
            .try_for_each(|_| orch.submit(nop, args().input(data.tensor()), config()).map(drop))
    })
    .unwrap();
    // Without joins 2,000 reads of 20,000 segments take seconds.
    assert!(began.elapsed() < std::time::Duration::from_millis(700), "{:?}", began.elapsed());
}
