//! Where values are: shared blocks, limits of the memory, and the spill.

use std::time::Duration;

use crate::values::{MIB, all_freed, echo, length_if_right, make, pattern};
use mailring::flow::{Cause, Error, Flow, Resources, Shared, WaitSet, node};
use testkit::flow::{failed, flow};

// ---- shared blocks ------------------------------------------------------------------------------

#[node]
fn block(len: usize) -> Result<(Shared<u64>, usize), Error> {
    let fill = |all: &mut [u64]| all.iter_mut().zip(1..).for_each(|(one, n)| *one = n);
    let all = Shared::new(&Flow::current()?, len, fill)?;
    let address = all.as_ptr() as usize;
    Ok((all, address))
}

#[node]
fn pass(all: Shared<u64>) -> Shared<u64> {
    all
}

#[node]
fn address_and_sum(all: Shared<u64>) -> (usize, u64, u32) {
    (all.as_ptr() as usize, all.iter().sum(), std::process::id())
}

pub(crate) fn a_shared_block_is_there_once() {
    let flow =
        Flow::builder().workers("cpu", 2, Resources::cpus(1.0)).memory(256 << 20).build().unwrap();
    let bytes = 64 * MIB;
    let len = bytes / 8;
    let (all, produced_at) = block::remote_blocking(&flow, len).unwrap();
    let mut passed = pass::remote(&flow, &all).unwrap();
    passed = pass::options().spread().remote(&flow, &passed).unwrap();
    let sum = (len as u64) * (len as u64 + 1) / 2;
    for worker in ["cpu/0", "cpu/1"] {
        let there = address_and_sum::options().on(worker).remote_blocking(&flow, &passed).unwrap();
        assert_eq!((there.0, there.1), (produced_at, sum));
        assert_ne!(there.2, std::process::id());
    }
    let here = passed.get().unwrap();
    assert_eq!((here.as_ptr() as usize, here.len(), here[len - 1]), (produced_at, len, len as u64));
    let used = flow.stats().unwrap().memory_used;
    assert!((bytes as u64..bytes as u64 + MIB as u64).contains(&used), "{used} bytes");
    drop((all, passed));
    assert_eq!(here[0], 1, "the last one keeps it");
    drop(here);
    all_freed(&flow);
}

pub(crate) fn shared_blocks_of_all_kinds() {
    let flow = flow(2);
    let empty = Shared::<u64>::new(&flow, 0, |_| {}).unwrap();
    assert_eq!(pass::remote_blocking(&flow, &empty).unwrap().len(), 0);
    let few = Shared::from_slice(&flow, &[1u64, 2, 3]).unwrap();
    let copy = few.clone();
    drop(few);
    assert_eq!(address_and_sum::remote_blocking(&flow, &copy).unwrap().1, 6);
    // Given away with the call: the call keeps it.
    assert_eq!(address_and_sum::remote_blocking(&flow, copy).unwrap().1, 6);
    let absurd = Shared::<u64>::new(&flow, usize::MAX, |_| {});
    assert!(matches!(absurd, Err(Error::Memory { .. })), "{absurd:?}");
    drop(empty);
    all_freed(&flow);
}

// ---- limits of memory ---------------------------------------------------------------------------

fn small(bytes: usize) -> mailring::flow::Builder {
    Flow::builder()
        .workers("cpu", 2, Resources::cpus(1.0))
        .memory(bytes)
        .memory_patience(Duration::from_millis(500))
}

pub(crate) fn too_large_for_the_memory() {
    let flow = small(8 * MIB).build().unwrap();
    let limit = (8 * MIB).to_string();
    let error = failed(make::remote_blocking(&flow, 16 * MIB));
    assert!(matches!(&error.cause, Cause::OutOfMemory(why) if why.contains(&limit)), "{error}");
    let argument = echo::remote(&flow, pattern(16 * MIB));
    let too_large = |bytes: u64| bytes > 16 * MIB as u64;
    assert!(
        matches!(&argument, Err(Error::Memory { bytes, why }) if too_large(*bytes) && why.contains(&limit)),
        "{argument:?}"
    );
    let put = flow.put(&pattern(16 * MIB));
    assert!(
        matches!(&put, Err(Error::Memory { why, .. }) if why.contains(&limit) && why.contains("spill")),
        "{put:?}"
    );
    assert_eq!(
        length_if_right::remote_blocking(&flow, pattern(5 * MIB)),
        Ok(Some(5 * MIB)),
        "more than half is fine"
    );
    all_freed(&flow);
}

pub(crate) fn a_memory_that_is_held_is_said_to_be() {
    let flow = small(8 * MIB).build().unwrap();
    let held = flow.put(&pattern(5 * MIB)).unwrap();
    let put = flow.put(&pattern(4 * MIB));
    assert!(matches!(&put, Err(Error::Memory { why, .. }) if why.contains("held")), "{put:?}");
    let error = failed(make::remote_blocking(&flow, 4 * MIB));
    assert!(matches!(&error.cause, Cause::OutOfMemory(why) if why.contains("held")), "{error}");
    drop(held);
    assert!(make::remote_blocking(&flow, 4 * MIB).is_ok());
}

pub(crate) fn what_does_not_fit_is_spilled() {
    let directory = tempfile::tempdir().unwrap();
    let flow = small(8 * MIB).spill(directory.path()).build().unwrap();
    let entries = || std::fs::read_dir(directory.path()).unwrap().count();
    let large = make::remote(&flow, 16 * MIB).unwrap();
    assert_eq!(length_if_right::remote_blocking(&flow, &large), Ok(Some(16 * MIB)));
    assert!(large.get().unwrap() == pattern(16 * MIB));
    assert_eq!(length_if_right::remote_blocking(&flow, pattern(12 * MIB)), Ok(Some(12 * MIB)));
    let many: Vec<_> = (0..20).map(|_| make::remote(&flow, MIB).unwrap()).collect();
    assert!(flow.get_all(&many).unwrap().iter().all(|bytes| *bytes == pattern(MIB)));
    assert!(flow.stats().unwrap().spilled >= 16 * MIB as u64);
    assert_eq!(entries(), 0, "the file has no name");
    drop((large, many));
    all_freed(&flow);
    drop(flow);
    assert_eq!(entries(), 0);
}

pub(crate) fn too_large_for_the_spill() {
    let directory = tempfile::tempdir().unwrap();
    let flow = small(4 * MIB).spill_limited(directory.path(), 8 * MIB).build().unwrap();
    assert!(make::remote_blocking(&flow, 6 * MIB).unwrap() == pattern(6 * MIB));
    let error = failed(make::remote_blocking(&flow, 16 * MIB));
    assert!(matches!(&error.cause, Cause::OutOfMemory(why) if why.contains("spill")), "{error}");
    let put = flow.put(&pattern(16 * MIB)).map(|_| ());
    assert!(matches!(put, Err(Error::Memory { .. })), "{put:?}");
    all_freed(&flow);
}

pub(crate) fn more_results_than_memory() {
    let flow = small(16 * MIB).build().unwrap();
    let mut set = WaitSet::new(&flow).unwrap();
    for _ in 0..60 {
        set.add(make::remote(&flow, MIB).unwrap()).unwrap();
    }
    let right = pattern(MIB);
    while !set.is_empty() {
        for one in set.wait(1, None).unwrap() {
            assert!(one.get().unwrap() == right);
        }
        assert!(flow.stats().unwrap().memory_used <= 16 * MIB as u64);
    }
    all_freed(&flow);
}

/// Takes its time before it asks for memory.
#[node]
fn make_late(len: usize) -> Vec<u8> {
    std::thread::sleep(Duration::from_millis(200));
    pattern(len)
}

/// The younger results fill the memory meanwhile, and nobody takes them before the first.
pub(crate) fn results_in_order_while_the_first_is_slow() {
    for (len, count) in [(MIB, 40), (5 * MIB, 6), (27 * MIB / 4, 6), (10 * MIB, 4)] {
        let patience = Duration::from_secs(20);
        let flow = small(16 * MIB).memory_patience(patience).build().unwrap();
        let mut all = vec![make_late::remote(&flow, len).unwrap()];
        all.extend((0..count).map(|_| make::remote(&flow, len).unwrap()));
        for (at, one) in all.into_iter().enumerate() {
            let length = one.get().map(|bytes| bytes.len());
            assert_eq!(length, Ok(len), "number {at} of {len} bytes");
        }
        all_freed(&flow);
    }
}

pub(crate) fn small_values_of_many_workers_take_little() {
    let flow = Flow::builder()
        .workers("cpu", 6, Resources::cpus(1.0))
        .memory(MIB)
        .memory_patience(Duration::from_millis(500))
        .build()
        .unwrap();
    for round in 0..2 {
        for worker in 0..6 {
            let call = make::options().on(&format!("cpu/{worker}"));
            let made = call.remote_blocking(&flow, 1000usize).map(|bytes| bytes.len());
            assert_eq!(made, Ok(1000), "round {round}, worker {worker}");
        }
    }
    // Nobody has a value: the memory is there for others.
    let put = flow.put(&pattern(MIB / 2)).map(|_| ());
    assert_eq!(put, Ok(()), "{:?}", flow.stats());
}
