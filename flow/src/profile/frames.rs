//! Frames: the calls that a thread is in, one above the other, and what code says of each.
//!
//! A body's is there while the flow is profiled; so is that of a node that is called as an ordinary
//! function. What is said goes to the topmost frame, so a call that another one makes keeps its own.

use std::cell::RefCell;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use mailring_process::clock::monotonic_ns;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::protocol::node::{NodeDesc, number_of};
use crate::protocol::note::{CallName, LocalCall, Note};

/// Bytes of JSON in one message.
const PIECE: usize = 16 << 10;

struct Frame {
    call: CallName,
    node: u32,
    /// The function of the body has begun: whatever is called now is another call.
    inside: bool,
    began: u64,
    info: Map<String, Value>,
}

thread_local! {
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// For how many flows nodes that are called as ordinary functions are noted in this process.
static NOTED: AtomicUsize = AtomicUsize::new(0);

/// In a worker's process: from now on they are, or are not.
#[inline]
pub(crate) fn note_calls(on: bool) {
    if NOTED.load(Relaxed) != usize::from(on) {
        NOTED.store(usize::from(on), Relaxed);
    }
}

/// In the driver: they are for one flow more.
pub(crate) fn begin_noting_calls() {
    NOTED.fetch_add(1, Relaxed);
}

/// And for one less.
pub(crate) fn end_noting_calls() {
    NOTED.fetch_sub(1, Relaxed);
}

/// Whether they are.
#[inline]
pub(crate) fn are_calls_noted() -> bool {
    NOTED.load(Relaxed) != 0
}

/// The body of a task begins on this thread.
pub(crate) fn enter_task(task: u64, node: u32) {
    let call = CallName::Task(task);
    push(Frame { call, node, inside: false, began: 0, info: Map::new() });
}

/// It has ended: what was said of it, in pieces that fit a message.
pub(crate) fn leave_task() -> Vec<Note> {
    let frames = FRAMES.try_with(|frames| std::mem::take(&mut *frames.borrow_mut()));
    let info = frames.ok().and_then(|frames| frames.into_iter().next()).map(|frame| frame.info);
    pieces(info.unwrap_or_default()).into_iter().map(|object| Note::Info { object }).collect()
}

/// A node is called as an ordinary function. False: it is the function of the body itself.
#[cold]
pub(crate) fn enter_call(node: &'static NodeDesc) -> bool {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    let node = number_of(node);
    let own = FRAMES.try_with(|frames| {
        let mut frames = frames.borrow_mut();
        let body = frames.last_mut().filter(|frame| !frame.inside && frame.node == node);
        body.map(|frame| frame.inside = true).is_some()
    });
    if own.unwrap_or(true) {
        return false;
    }
    let call = CallName::Local(std::process::id(), NUMBERS.fetch_add(1, Relaxed));
    let info = Map::new();
    push(Frame { call, node, inside: true, began: monotonic_ns(), info });
    true
}

/// That call has ended.
#[cold]
pub(crate) fn leave_call() -> Option<Note> {
    let ended = monotonic_ns();
    let (frame, caller) = FRAMES
        .try_with(|frames| {
            let mut frames = frames.borrow_mut();
            Some((frames.pop()?, frames.last().map(|frame| frame.call)))
        })
        .ok()??;
    let CallName::Local(process, number) = frame.call else { return None };
    Some(Note::Local(Box::new(LocalCall {
        number,
        process,
        caller,
        node: frame.node,
        began: frame.began,
        ended,
        object: pieces(frame.info).into_iter().next().unwrap_or_default(),
        panicked: std::thread::panicking(),
    })))
}

fn push(frame: Frame) {
    let _ = FRAMES.try_with(|frames| frames.borrow_mut().push(frame));
}

/// Adds a value to the record of the call that runs, for its line in the profile: `extra`, by this
/// key. A later value of the same key replaces it. Whatever serde can serialise will do; a value
/// that it cannot is replaced by the reason.
///
/// It belongs to the innermost call: the body of a task, or a node that this body calls as an
/// ordinary function. Outside of calls, on a thread that a body has started, and where nothing is
/// profiled it does nothing.
///
/// ```no_run
/// use mailring::flow::{add_info, node};
///
/// #[node]
/// fn simulate(design: &str) -> u64 {
///     let cycles = 12_345;
///     add_info("cycles", cycles);
///     add_info("counters", [("hits", 3), ("misses", 1)]);
///     cycles
/// }
/// ```
pub fn add_info(key: &str, value: impl Serialize) {
    let _ = FRAMES.try_with(|frames| {
        if frames.borrow().is_empty() {
            return;
        }
        let value = json(value); // code of the user's
        if let Some(frame) = frames.borrow_mut().last_mut() {
            frame.info.insert(key.to_owned(), value);
        }
    });
}

/// An event of the user's, if it may be one.
pub(crate) fn event(kind: &str, fields: impl Serialize) -> Note {
    let call = FRAMES.try_with(|frames| frames.borrow().last().map(|frame| frame.call));
    let fields = match json(fields) {
        Value::Object(fields) => fields,
        Value::Null => Map::new(),
        other => Map::from_iter([("value".to_owned(), other)]),
    };
    let object = pieces(fields).into_iter().next().unwrap_or_default();
    Note::Event { at: monotonic_ns(), call: call.ok().flatten(), kind: kind.to_owned(), object }
}

fn json(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_else(|why| Value::String(format!("not JSON: {why}")))
}

/// Objects of JSON, none longer than a piece. A value that is longer is replaced by its length.
fn pieces(mut members: Map<String, Value>) -> Vec<String> {
    if members.is_empty() {
        return Vec::new();
    }
    let text = |members: &Map<String, Value>| serde_json::to_string(members).unwrap_or_default();
    let whole = text(&members);
    if whole.len() <= PIECE {
        return vec![whole];
    }
    let mut pieces = Vec::new();
    let mut piece = Map::new();
    let mut used = 0;
    for (mut key, value) in std::mem::take(&mut members) {
        let mut end = key.len().min(PIECE / 8);
        while !key.is_char_boundary(end) {
            end -= 1;
        }
        key.truncate(end);
        let len = value.to_string().len();
        let (value, len) = if len > PIECE / 2 {
            (Value::String(format!("[{len} bytes; at most {} are kept]", PIECE / 2)), 64)
        } else {
            (value, len)
        };
        // A character of a key may take six.
        let need = len + 6 * key.len() + 4;
        if used > 0 && used + need > PIECE {
            pieces.push(text(&std::mem::take(&mut piece)));
            used = 0;
        }
        used += need;
        piece.insert(key, value);
    }
    pieces.push(text(&piece));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_goes_to_the_topmost_call() {
        add_info("outside", 1);
        enter_task(7, 0);
        add_info("a", 1);
        push(Frame {
            call: CallName::Local(1, 1),
            node: 1,
            inside: true,
            began: 0,
            info: Map::new(),
        });
        add_info("b", "x");
        let Some(Note::Local(local)) = leave_call() else { panic!("a local call") };
        assert_eq!((local.caller, &*local.object), (Some(CallName::Task(7)), "{\"b\":\"x\"}"));
        add_info("a", 2);
        let notes = leave_task();
        assert!(matches!(&notes[..], [Note::Info { object }] if object == "{\"a\":2}"));
        assert!(leave_task().is_empty());
    }

    #[test]
    fn much_is_cut_into_pieces() {
        let members = (0..40).map(|at| (format!("k{at}"), Value::String("\u{1}".repeat(500))));
        let mut members: Map<_, _> = members.collect();
        members.insert("long".to_owned(), Value::String("x".repeat(1 << 20)));
        let pieces = pieces(members);
        assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.len() <= PIECE));
        let again = pieces
            .iter()
            .flat_map(|piece| serde_json::from_str::<Map<String, Value>>(piece).unwrap());
        let again: Map<_, _> = again.collect();
        assert_eq!(again.len(), 41);
        assert!(again["long"].as_str().unwrap().starts_with("[1048578 bytes"));
    }
}
