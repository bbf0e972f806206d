//! Values: sizes, who keeps them, and values that cannot be encoded.

use std::sync::Mutex;
use std::time::Duration;

use mailring::flow::{Cause, Error, Flow, ObjectRef, actor, node};
use serde::{Deserialize, Serialize, Serializer};
use testkit::flow::{Gate, failed, flow, hold};
use testkit::{eventually, kill};

pub(crate) const MIB: usize = 1 << 20;
/// What two workers may keep for small values of the future.
const POCKETS: u64 = 2 * (256 << 10);

pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

#[node]
pub(crate) fn make(len: usize) -> Vec<u8> {
    pattern(len)
}

#[node]
pub(crate) fn echo(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

#[node]
pub(crate) fn length_if_right(bytes: &[u8]) -> Option<usize> {
    (bytes == pattern(bytes.len())).then_some(bytes.len())
}

/// Waits until no object is left, and no memory is taken.
#[track_caller]
pub(crate) fn all_freed(flow: &Flow) {
    freed_but(flow, 0);
}

/// The same, but for what workers keep.
#[track_caller]
pub(crate) fn freed_but(flow: &Flow, most: u64) {
    eventually("all is freed", || {
        let stats = flow.stats().unwrap();
        stats.objects == 0 && stats.memory_used <= most && stats.spilled == 0
    });
}

pub(crate) fn all_sizes() {
    let flow = flow(2);
    let sizes = [
        0,
        1,
        14,
        15,
        16,
        17,
        190,
        191,
        192,
        193,
        2046,
        2048,
        2049,
        4096,
        65_533,
        65_535,
        65_536,
        65_537,
        MIB,
        20 * MIB,
    ];
    for len in sizes {
        let bytes = pattern(len);
        assert_eq!(
            length_if_right::remote_blocking(&flow, &bytes),
            Ok(Some(len)),
            "as an argument"
        );
        let made = make::remote(&flow, len).unwrap();
        assert!(made.get().unwrap() == bytes, "{len} bytes as a result");
        assert_eq!(
            length_if_right::remote_blocking(&flow, &made),
            Ok(Some(len)),
            "from node to node"
        );
        assert!(
            echo::remote_blocking(&flow, bytes.clone()).unwrap() == bytes,
            "{len} there and back"
        );
        let put = flow.put(&bytes).unwrap();
        assert!(put.get().unwrap() == bytes, "{len} put");
        assert_eq!(length_if_right::remote_blocking(&flow, &put), Ok(Some(len)));
        drop((made, put));
        freed_but(&flow, POCKETS);
    }
}

// ---- who keeps a value --------------------------------------------------------------------------

pub(crate) fn the_last_ref_frees() {
    let flow = flow(2);
    let value = make::remote(&flow, 4 * MIB).unwrap();
    let copy = value.clone();
    assert!(value.wait_timeout(Duration::from_secs(10)));
    drop(value);
    let stats = flow.stats().unwrap();
    assert_eq!(stats.objects, 1);
    assert!(stats.memory_used >= 4 * MIB as u64, "{stats:?}");
    drop(copy);
    all_freed(&flow);
    // Nobody wants it any more before it is there.
    let gate = Gate::new();
    let open = hold::remote(&flow, gate.path(), "one").unwrap();
    drop(make_after::remote(&flow, open, MIB).unwrap());
    gate.open();
    all_freed(&flow);
}

#[node]
pub(crate) fn make_after(_open: bool, len: usize) -> Vec<u8> {
    pattern(len)
}

/// Refs that a worker's process keeps between tasks.
static KEPT: Mutex<Vec<ObjectRef<Vec<u8>>>> = Mutex::new(Vec::new());

#[node]
fn keep(refs: Vec<ObjectRef<Vec<u8>>>) -> u32 {
    KEPT.lock().unwrap().extend(refs);
    std::process::id()
}

#[node]
fn let_go() -> usize {
    std::mem::take(&mut *KEPT.lock().unwrap()).len()
}

/// Two values that only the worker's process keeps; the process.
#[track_caller]
fn kept_by_a_worker(flow: &Flow) -> i32 {
    let refs: Vec<_> = (0..2).map(|_| make::remote(flow, MIB).unwrap()).collect();
    flow.get_all(&refs).unwrap();
    let pid = keep::remote_blocking(flow, &refs).unwrap();
    drop(refs);
    std::thread::sleep(Duration::from_millis(30));
    let stats = flow.stats().unwrap();
    assert!(stats.memory_used >= 2 * MIB as u64 && stats.objects == 2, "{stats:?}");
    pid as i32
}

pub(crate) fn a_worker_keeps_a_ref_and_lets_it_go() {
    let flow = flow(1);
    kept_by_a_worker(&flow);
    assert_eq!(let_go::remote_blocking(&flow), Ok(2));
    all_freed(&flow);
}

pub(crate) fn a_worker_that_keeps_a_ref_dies() {
    let flow = flow(1);
    let pid = kept_by_a_worker(&flow);
    kill(pid, libc::SIGKILL);
    all_freed(&flow);
    assert_eq!(let_go::remote_blocking(&flow), Ok(0), "another process");
}

#[derive(Default)]
struct Keeper {
    refs: Vec<ObjectRef<Vec<u8>>>,
}

#[actor]
#[allow(unreachable_pub, reason = "what can be called is `pub`")]
impl Keeper {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn keep(&mut self, one: Vec<ObjectRef<Vec<u8>>>) -> usize {
        self.refs.extend(one);
        self.refs.len()
    }

    pub fn bytes(&mut self) -> Result<usize, Error> {
        let all = self.refs.iter().map(|one| one.get().map(|bytes| bytes.len()));
        all.sum()
    }

    pub fn process(&self) -> u32 {
        std::process::id()
    }
}

pub(crate) fn an_actor_that_keeps_refs_ends() {
    let flow = flow(2);
    for by_kill in [true, false] {
        let keeper = KeeperActor::new(&flow).unwrap();
        let refs: Vec<_> = (0..3).map(|_| make::remote(&flow, MIB).unwrap()).collect();
        assert_eq!(keeper.keep(&refs).remote_blocking(), Ok(3));
        drop(refs);
        assert_eq!(keeper.bytes().remote_blocking(), Ok(3 * MIB), "it still has them");
        assert!(flow.stats().unwrap().memory_used >= 3 * MIB as u64);
        if by_kill {
            keeper.raw().kill().unwrap();
        } else {
            kill(keeper.process().remote_blocking().unwrap() as i32, libc::SIGKILL);
        }
        all_freed(&flow);
    }
}

// ---- put, free ----------------------------------------------------------------------------------

pub(crate) fn one_value_for_many_calls() {
    let flow = flow(2);
    let put = flow.put(&pattern(MIB)).unwrap();
    let before = flow.stats().unwrap().memory_used;
    let all: Vec<_> = (0..50).map(|_| length_if_right::remote(&flow, &put).unwrap()).collect();
    assert!(flow.get_all(&all).unwrap().iter().all(|len| *len == Some(MIB)));
    let after = flow.stats().unwrap().memory_used;
    assert!(after <= before + POCKETS, "{before} bytes before, {after} after");
}

pub(crate) fn freed_values_are_lost() {
    let flow = flow(2);
    for len in [10, MIB] {
        let (put, made) = (flow.put(&pattern(len)).unwrap(), make::remote(&flow, len).unwrap());
        made.get().unwrap();
        let kept = make::remote(&flow, len).unwrap();
        flow.free(&[put.clone(), made.clone()]).unwrap();
        for lost in [&put, &made] {
            let error = failed(lost.get());
            assert!(
                matches!(&error.cause, Cause::ObjectLost(why) if why.contains("freed")),
                "{error}"
            );
            let below = failed(echo::remote(&flow, lost).unwrap().get());
            assert!(matches!(below.cause, Cause::ObjectLost(_)), "{below}");
            assert_eq!(below.below.unwrap().1, "echo");
        }
        assert!(kept.get().unwrap() == pattern(len));
    }
    all_freed(&flow);
}

// ---- values that cannot be encoded --------------------------------------------------------------

#[derive(Debug, PartialEq, Deserialize)]
struct Stubborn(u8);

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it does not want to"))
    }
}

#[node]
fn takes_stubborn(first: u8, stubborn: Stubborn) -> u8 {
    first + stubborn.0
}

#[node]
fn returns_stubborn(value: u8) -> Stubborn {
    Stubborn(value)
}

#[node]
pub(crate) fn number(value: u8) -> u8 {
    value
}

pub(crate) fn an_argument_that_cannot_be_encoded() {
    let flow = flow(1);
    let refused = takes_stubborn::remote(&flow, 1u8, Stubborn(2));
    let names = |what: &str| {
        what.contains("argument 1")
            && what.contains("`stubborn`")
            && what.contains("takes_stubborn")
    };
    assert!(matches!(&refused, Err(Error::Encode { what, .. }) if names(what)), "{refused:?}");
    assert!(matches!(flow.put(&Stubborn(1)), Err(Error::Encode { .. })));
    let stats = flow.stats().unwrap();
    assert_eq!((stats.tasks, stats.objects), (0, 0));
    assert_eq!(number::remote_blocking(&flow, 3u8), Ok(3));
}

pub(crate) fn a_result_that_cannot_be_encoded() {
    let flow = flow(1);
    let error = failed(returns_stubborn::remote_blocking(&flow, 1u8));
    assert_eq!(error.name, "returns_stubborn");
    assert!(
        matches!(&error.cause, Cause::Codec(why) if why.contains("cannot be encoded")),
        "{error}"
    );
    assert_eq!(number::remote_blocking(&flow, 3u8), Ok(3), "the worker goes on");
}
