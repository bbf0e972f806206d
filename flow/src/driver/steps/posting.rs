//! Posting: a task's descriptor is written into a cell of a process, and given to its worker.

use super::settling::{fail, fail_with_root};
use crate::driver::parts::objects::{Objects, Value};
use crate::driver::parts::processes::PostedTask;
use crate::driver::parts::state::State;
use crate::driver::parts::store::{BlockId, NoRoom};
use crate::driver::parts::tasks::{Index, Phase, Task};
use crate::protocol::args::Arg;
use crate::protocol::error::{Cause, Error};
use crate::protocol::memory::{CELL_ARGS, CellRef, Head, arg_word, flags};
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
    let State { objects, processes, memory, marks, .. } = state;
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
    let mut envelope = None;
    // SAFETY: the cell is the driver's until it is posted, and the area has this size.
    let mut pen = Pen::new(unsafe { std::slice::from_raw_parts_mut(cell.args(), CELL_ARGS) });
    match write_args(objects, task, hooks.as_deref(), &mut pen) {
        Ok(()) => {}
        Err(NotWritten::NoValue) => return Written::Unfit(None),
        Err(NotWritten::Full) => match write_envelope(state, index, hooks.as_deref(), cell) {
            Ok(block) => {
                head.flags |= flags::ENVELOPE;
                pen.at = 2 * size_of::<u64>();
                envelope = Some(block);
            }
            Err(why) => return why,
        },
    }
    head.args_len = pen.at as u32;
    cell.write_head(head);
    let processes = &mut state.processes;
    let floor = if pen.looks_back { processes.at(place).done() } else { seq };
    processes.set_next(place, PostedTask { object: Some(index), floor, envelope });
    Written::Yes
}

/// Writes the arguments of a task into a block of memory, and into its cell where that is.
#[cold]
fn write_envelope(
    state: &mut State,
    index: Index,
    hooks: Option<&[u8]>,
    cell: CellRef,
) -> Result<BlockId, Written> {
    let State { objects, store, memory, admission, effects, .. } = state;
    let task = objects.task(index).ok_or(Written::Unfit(None))?;
    let bytes = descriptor_bytes(objects, task, hooks).ok_or(Written::Unfit(None))?;
    let need = bytes as u64;
    let block = match store.take_small(need, need) {
        Ok(block) => block,
        Err(NoRoom::Now) => {
            admission.set_short();
            effects.wakeup = true; // the driver thread looks again, and for how long
            return Err(Written::NoRoom);
        }
        Err(NoRoom::Ever(why)) => {
            let error = Error::Memory { bytes: need, why };
            return Err(Written::Unfit(Some(Box::new(error))));
        }
    };
    let (address, _) = store.place(block);
    // SAFETY: a block that was taken just now, for this.
    let room = unsafe { memory.room(address, need) };
    let written = room.map(|room| write_args(objects, task, hooks, &mut Pen::new(room)));
    if !matches!(written, Some(Ok(()))) {
        store.release(block);
        return Err(Written::Unfit(None));
    }
    let [first, second] = [address, need].map(u64::to_ne_bytes);
    // SAFETY: the cell is the driver's until it is posted, and the area has room for two words.
    let area = unsafe { std::slice::from_raw_parts_mut(cell.args(), 16) };
    area[..8].copy_from_slice(&first);
    area[8..].copy_from_slice(&second);
    Ok(block)
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

/// Bytes of a task's arguments in its descriptor. `None`: one of them has failed.
pub(crate) fn descriptor_bytes(
    objects: &Objects,
    task: &Task,
    hooks: Option<&[u8]>,
) -> Option<usize> {
    let mut bytes = 4 * task.args.list.len() + task.args.bytes.len();
    for &dep in task.needed() {
        bytes += match &objects.at(dep).value {
            Value::Inline(value) => value.len(),
            Value::Placed { .. } => 16,
            Value::Pending => 8,
            Value::Failed(_) => return None,
        };
    }
    Some(bytes + hooks.map_or(0, |hooks| 4 + hooks.len()))
}

/// Why arguments could not be written.
enum NotWritten {
    /// There is no room for them.
    Full,
    /// One of them has failed, or is missing.
    NoValue,
}

/// A word for each argument, and what it says.
#[inline]
fn write_args(
    objects: &Objects,
    task: &Task,
    hooks: Option<&[u8]>,
    pen: &mut Pen<'_>,
) -> Result<(), NotWritten> {
    let mut rest = &task.args.bytes[..];
    let mut refs = task.held.iter();
    for arg in &task.args.list {
        match arg {
            Arg::Value(len) => {
                let (value, behind) =
                    rest.split_at_checked(*len as usize).ok_or(NotWritten::NoValue)?;
                rest = behind;
                pen.inline(value)?;
            }
            Arg::Ref(_) => {
                let &dep = refs.next().ok_or(NotWritten::NoValue)?;
                match &objects.at(dep).value {
                    Value::Inline(value) => pen.inline(value)?,
                    Value::Placed { address, len, .. } => {
                        pen.word(arg_word::PLACED)?;
                        pen.put(&address.to_ne_bytes())?;
                        pen.put(&len.to_ne_bytes())?;
                    }
                    Value::Pending => {
                        let earlier = match objects.task(dep).map(|task| task.phase) {
                            Some(Phase::Posted { seq, .. }) => seq,
                            _ => 0, // no posted task has this number, so the worker says so
                        };
                        pen.looks_back = true;
                        pen.word(arg_word::CELL)?;
                        pen.put(&earlier.to_ne_bytes())?;
                    }
                    Value::Failed(_) => return Err(NotWritten::NoValue),
                }
            }
        }
    }
    match hooks {
        Some(hooks) => pen.inline(hooks),
        None => Ok(()),
    }
}

/// Posts what was written.
pub(crate) fn post(state: &mut State, place: u16, index: Index) {
    let seq = state.processes.post(place);
    let timed = state.objects.set_posted(index, place, seq);
    state.processes.publish(place, seq, timed);
    state.memory.cell(place, seq + 1).expect_write(); // the worker used it last
}

/// Writes one part behind the other, as far as there is room.
struct Pen<'a> {
    room: &'a mut [u8],
    /// Bytes that were written.
    at: usize,
    /// One of the arguments is the value of an earlier task.
    looks_back: bool,
}

impl<'a> Pen<'a> {
    fn new(room: &'a mut [u8]) -> Self {
        Self { room, at: 0, looks_back: false }
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), NotWritten> {
        let end = self.at + bytes.len();
        let here = self.room.get_mut(self.at..end).ok_or(NotWritten::Full)?;
        here.copy_from_slice(bytes);
        self.at = end;
        Ok(())
    }

    #[inline]
    fn word(&mut self, word: u32) -> Result<(), NotWritten> {
        self.put(&word.to_ne_bytes())
    }

    #[inline]
    fn inline(&mut self, value: &[u8]) -> Result<(), NotWritten> {
        self.word(value.len() as u32)?;
        self.put(value)
    }
}
