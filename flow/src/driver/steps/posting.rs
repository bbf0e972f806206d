//! Posting: a task's descriptor is written into a cell of a process, and given to its worker.

use super::settling::{fail, fail_with_root};
use crate::driver::parts::objects::{Objects, Value};
use crate::driver::parts::processes::PostedTask;
use crate::driver::parts::state::State;
use crate::driver::parts::store::NoRoom;
use crate::driver::parts::tasks::{Index, Phase, Task};
use crate::protocol::args::Arg;
use crate::protocol::error::{Cause, Error};
use crate::protocol::memory::{CELL_ARGS, Head, arg_word, flags};
use crate::protocol::node::number_of;

/// Whether a descriptor was written.
#[derive(Debug)]
#[must_use]
pub(crate) enum Written {
    Yes,
    /// There is no memory for its arguments now.
    NoRoom,
    /// There never will be, and why; or an argument has failed.
    Unfit(Option<Box<Error>>),
}

/// Writes a task into the next cell of a process, which has room.
pub(crate) fn write_descriptor(state: &mut State, place: u16, index: Index) -> Written {
    let State { objects, processes, store, memory, admission, effects, marks, .. } = state;
    let process = processes.at(place);
    let Some(task) = objects.task(index) else { return Written::Unfit(None) };
    let seq = process.next();
    let cell = memory.cell(place, seq);
    let mut head = Head {
        task: objects.at(index).number,
        node: number_of(task.runs),
        args_len: 0,
        attempt: task.attempt,
        flags: if task.timed() { *marks | flags::TIMED } else { *marks },
        argc: task.args.list.len() as u32,
    };
    let hooks = match task.encoded_hooks() {
        None => None,
        Some(encoded) => {
            head.flags |= flags::HOOKS;
            head.argc += 1;
            Some(encoded)
        }
    };
    let Some((need, looks_back)) = descriptor_bytes(objects, task, hooks.as_deref()) else {
        return Written::Unfit(None);
    };
    let mut envelope = None;
    // SAFETY: the cell is the driver's until it is posted, and the area has this size.
    let mut room = unsafe { std::slice::from_raw_parts_mut(cell.args(), CELL_ARGS) };
    if need > CELL_ARGS {
        let block = match store.take_small(need as u64, need as u64) {
            Ok(block) => block,
            Err(NoRoom::Now) => {
                admission.set_short();
                effects.wakeup = true; // the driver thread looks again, and for how long
                return Written::NoRoom;
            }
            Err(NoRoom::Ever(why)) => {
                let error = Error::Memory { bytes: need as u64, why };
                return Written::Unfit(Some(Box::new(error)));
            }
        };
        let (address, _) = store.place(block);
        room[..8].copy_from_slice(&address.to_ne_bytes());
        room[8..16].copy_from_slice(&(need as u64).to_ne_bytes());
        head.flags |= flags::ENVELOPE;
        head.args_len = 16;
        envelope = Some(block);
        // SAFETY: a block that was taken just now, for this.
        let Some(lent) = (unsafe { memory.room(address, need as u64) }) else {
            return Written::Unfit(None);
        };
        room = lent;
    } else {
        head.args_len = need as u32;
    }
    write_args(objects, task, hooks.as_deref(), Pen(room));
    cell.write_head(head);
    let floor = if looks_back { process.done() } else { seq };
    processes.set_next(place, PostedTask { object: Some(index), floor, envelope });
    Written::Yes
}

/// A task that can never be posted ends: an argument has failed, or there are more of them than
/// memory.
pub(crate) fn end_unfit(state: &mut State, index: Index, too_large: Option<Box<Error>>) {
    if let Some(error) = too_large {
        fail(state, index, None, (*error).into());
    } else if let Some(error) = state.objects.failed_argument(index) {
        fail_with_root(state, index, &error);
    } else {
        fail(state, index, None, Cause::Codec("its arguments cannot be written".to_owned()));
    }
}

/// Bytes of a task's arguments in its descriptor, and whether one is the value of an earlier
/// task. `None`: one of them has failed, or is nowhere.
#[inline]
pub(crate) fn descriptor_bytes(
    objects: &Objects,
    task: &Task,
    hooks: Option<&[u8]>,
) -> Option<(usize, bool)> {
    let mut bytes = 4 * task.args.list.len() + task.args.bytes.len();
    let mut looks_back = false;
    for &dep in task.needed() {
        bytes += match &objects.at(dep).value {
            Value::Inline(value) => value.len(),
            Value::Placed { .. } => 16,
            Value::Pending => {
                looks_back = true;
                8
            }
            Value::Failed(_) => return None,
        };
    }
    Some((bytes + hooks.map_or(0, |hooks| 4 + hooks.len()), looks_back))
}

/// A word for each argument, and what it says.
#[inline]
fn write_args(objects: &Objects, task: &Task, hooks: Option<&[u8]>, mut pen: Pen<'_>) {
    let mut rest = &task.args.bytes[..];
    let mut refs = task.held.iter();
    for arg in &task.args.list {
        match arg {
            Arg::Value(len) => {
                let (value, behind) = rest.split_at(*len as usize);
                rest = behind;
                pen.inline(value);
            }
            Arg::Ref(_) => {
                let Some(&dep) = refs.next() else { return };
                match &objects.at(dep).value {
                    Value::Inline(value) => pen.inline(value),
                    Value::Placed { address, len, .. } => {
                        pen.put(&arg_word::PLACED.to_ne_bytes());
                        pen.put(&address.to_ne_bytes());
                        pen.put(&len.to_ne_bytes());
                    }
                    _ => {
                        let earlier = match objects.task(dep).map(|task| task.phase) {
                            Some(Phase::Posted { seq, .. }) => seq,
                            _ => 0, // no posted task has this number, so the worker says so
                        };
                        pen.put(&arg_word::CELL.to_ne_bytes());
                        pen.put(&earlier.to_ne_bytes());
                    }
                }
            }
        }
    }
    if let Some(hooks) = hooks {
        pen.inline(hooks);
    }
}

/// Posts what was written.
pub(crate) fn post(state: &mut State, place: u16, index: Index) {
    let seq = state.processes.post(place);
    let timed = state.objects.set_posted(index, place, seq);
    state.processes.publish(place, seq, timed);
    state.memory.cell(place, seq + 1).expect_write(); // the worker used it last
}

/// Writes one part behind the other; the room was measured before.
struct Pen<'a>(&'a mut [u8]);

impl Pen<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let (here, behind) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        here.copy_from_slice(bytes);
        self.0 = behind;
    }

    #[inline]
    fn inline(&mut self, value: &[u8]) {
        self.put(&(value.len() as u32).to_ne_bytes());
        self.put(value);
    }
}
