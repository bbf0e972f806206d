//! Graphs that are recorded once and replayed.

use std::ffi::c_void;

use mailring::{Bindings, Recording, TaskId};

use super::error::{Fail, guard, guard_status, last_status};
use super::executor::{Engine, mr_executor};
use super::handles::{self, Kind, Object, Owned, Shared};
use super::raw::{In, Out, null};
use super::runs::{Opened, Running, lock, mr_run_body, mr_run_handle};
use super::status::{MR_ERR_NOT_FOUND, MR_OK, mr_status};
use super::submit::mr_task;
use super::values::mr_tensor;

/// The graph of a run, with whom each task waits for, to be submitted again with other memory and
/// other scalars. It belongs to the executor that recorded it.
///
/// All functions on it may be called from several threads at the same time; none waits.
pub struct mr_recording {
    _opaque: [u8; 0],
}

/// What a replay is given: memory in the place of what was recorded, and other scalars. At first what
/// was recorded.
///
/// Functions on the same mr_bindings wait for each other; use one a thread.
pub struct mr_bindings {
    _opaque: [u8; 0],
}

struct Recorded(Recording);

// SAFETY: the only type of that kind.
unsafe impl Object for Recorded {
    const KIND: Kind = Kind::Recording;
}
impl Shared for Recorded {}

struct Bound(Bindings);

// SAFETY: the only type of that kind.
unsafe impl Object for Bound {
    const KIND: Kind = Kind::Bindings;
}
impl Owned for Bound {}

/// Opens a run, lets body fill it, waits for all its tasks, and records them: as mr_run. What body does
/// besides submitting (waiting, cancelling) is not recorded; scopes, groups, allocated outputs and
/// options are.
///
/// MR_ERR_REPLAY: a task names memory of a scope that had closed. *out is only set with MR_OK.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_record(
    exec: *mut mr_executor,
    body: mr_run_body,
    user: *mut c_void,
    out: *mut *mut mr_recording,
) -> mr_status {
    // SAFETY: the caller's promise, at the front of the header.
    let out = unsafe { Out::new(out) };
    guard_status(|| {
        let body = body.ok_or_else(|| null("body"))?;
        let engine = handles::get::<Engine, _>(exec)?;
        let out = out.check("out")?;
        let mut running = Running::begin(&engine.0, true, None)?;
        drop(engine);
        running.open()?.run.record()?;
        let run: *mut mr_run_handle = handles::insert(running)?;
        // SAFETY: the caller says that it is such a function. It does not unwind, or the program
        // ends.
        let code = unsafe { body(run, user) };
        let recorded = handles::take::<Running, _>(run)?.end_recorded();
        match code {
            MR_OK => {
                out.set(handles::insert(Recorded(recorded?))?);
                Ok(MR_OK)
            }
            code if code == last_status() => Ok(code),
            code => Err(Fail::new(code, format!("the body of the run returned {code}"))),
        }
    })
}

/// Frees a recording; replays of it go on. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn mr_recording_free(recording: *mut mr_recording) -> mr_status {
    guard(|| {
        if recording.is_null() {
            return Ok(());
        }
        handles::end::<Recorded, _>(recording).map(drop)
    })
}

/// How many tasks it has, and how many pieces of memory it names. Either pointer may be NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_recording_count(
    recording: *mut mr_recording,
    tasks: *mut usize,
    memory: *mut usize,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (tasks, memory) = unsafe { (Out::new(tasks), Out::new(memory)) };
    guard(|| {
        let recording = handles::get::<Recorded, _>(recording)?;
        tasks.set(recording.0.len());
        memory.set(recording.0.bindings().len());
        Ok(())
    })
}

/// The number in the recording, from 0, of a task that its body submitted.
///
/// MR_ERR_NOT_FOUND: it is no task of the recorded run.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_recording_index(
    recording: *mut mr_recording,
    task: *const mr_task,
    out: *mut usize,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (task, out) = unsafe { (In::new(task), Out::new(out)) };
    guard(|| {
        let recording = handles::get::<Recorded, _>(recording)?;
        let (task, out) = (task.read("task")?, out.check("out")?);
        let index = recording.0.index_of(TaskId(task.id)).ok_or_else(|| {
            let why = format!("mr_task {} is no task of this recording", task.id);
            Fail::new(MR_ERR_NOT_FOUND, why)
        })?;
        out.set(index);
        Ok(())
    })
}

/// The memory and the scalars that were recorded, to be replaced.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_bindings_new(
    recording: *mut mr_recording,
    out: *mut *mut mr_bindings,
) -> mr_status {
    // SAFETY: the caller's promise.
    let out = unsafe { Out::new(out) };
    guard(|| {
        let recording = handles::get::<Recorded, _>(recording)?;
        let out = out.check("out")?;
        out.set(handles::insert(Bound(recording.0.bindings()))?);
        Ok(())
    })
}

/// Ends them. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn mr_bindings_free(bindings: *mut mr_bindings) -> mr_status {
    guard(|| {
        if bindings.is_null() {
            return Ok(());
        }
        handles::take::<Bound, _>(bindings).map(drop)
    })
}

/// Puts a tensor in the place of a piece of memory, counted from 0 in the order of first use. Pieces are
/// whole buffers; the first byte of the tensor takes the place of the first byte of the buffer.
///
/// MR_ERR_REPLAY: there is no such piece, or tasks name more of it than the tensor has. Nothing is
/// changed then.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_bindings_memory(
    bindings: *mut mr_bindings,
    memory: usize,
    tensor: *const mr_tensor,
) -> mr_status {
    // SAFETY: the caller's promise.
    let tensor = unsafe { In::new(tensor) };
    guard(|| {
        let mut bindings = handles::lock::<Bound, _>(bindings)?;
        bindings.0.tensor(memory, tensor.read("tensor")?.to_engine()?)?;
        Ok(())
    })
}

/// The same for the piece in which the recorded tensor lay.
///
/// MR_ERR_REPLAY: as mr_bindings_memory.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_bindings_replace(
    bindings: *mut mr_bindings,
    recorded: *const mr_tensor,
    tensor: *const mr_tensor,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (recorded, tensor) = unsafe { (In::new(recorded), In::new(tensor)) };
    guard(|| {
        let mut bindings = handles::lock::<Bound, _>(bindings)?;
        let recorded = recorded.read("recorded")?.to_engine()?;
        bindings.0.tensor(recorded, tensor.read("tensor")?.to_engine()?)?;
        Ok(())
    })
}

/// Another value of a scalar of a task, both counted from 0; scalars of the members of a group one
/// after the other.
///
/// MR_ERR_REPLAY: there is no such task, or it has no such scalar.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn mr_bindings_scalar(
    bindings: *mut mr_bindings,
    task: usize,
    scalar: usize,
    value: u64,
) -> mr_status {
    guard(|| {
        handles::lock::<Bound, _>(bindings)?.0.scalar(task, scalar, value)?;
        Ok(())
    })
}

/// Submits the tasks of a recording to an open run, in its innermost scope, without finding out again
/// whom each waits for. bindings may be NULL: what was recorded. tasks may be NULL; otherwise it gets
/// the first count tasks of the replay.
///
/// MR_ERR_REPLAY: a recording, or bindings, of another executor or recording; a buffer that is gone;
/// two pieces of memory that share bytes, which a task writes, and did not when they were recorded;
/// count is larger than the recording. As mr_submit where a function or a worker is gone or the host
/// holds a buffer: nothing is submitted then. As mr_submit where no room can be made: tasks
/// before that were submitted.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_replay(
    run: *mut mr_run_handle,
    recording: *mut mr_recording,
    bindings: *mut mr_bindings,
    tasks: *mut mr_task,
    count: usize,
) -> mr_status {
    // SAFETY: the caller's promise: there is room for so many.
    let task = |index: usize| unsafe { Out::new(tasks.wrapping_add(index)) };
    guard(|| {
        let recording = handles::get::<Recorded, _>(recording)?;
        let wanted = if tasks.is_null() { 0 } else { count };
        if let Some(last) = wanted.checked_sub(1)
            && last >= recording.0.len()
        {
            let (task, tasks) = (last, recording.0.len());
            return Err(
                mailring::Error::from(mailring::InvalidReplay::NoTask { task, tasks }).into()
            );
        }
        let bindings = match bindings.is_null() {
            true => recording.0.bindings(),
            false => handles::lock::<Bound, _>(bindings)?.0.clone(),
        };
        let mut running = lock(run)?;
        let opened: &mut Opened = running.open()?;
        let replayed = opened.run.replay(&recording.0, &bindings)?;
        for index in 0..wanted {
            task(index).set(mr_task::enter(run, opened, replayed.handle(index)?));
        }
        Ok(())
    })
}

/// Runs a recording: opens a run, replays, closes it, and waits for all its tasks. bindings may be NULL:
/// what was recorded.
///
/// MR_ERR_REPLAY: as mr_replay. MR_ERR_TASK: as mr_run_end.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_run_recording(
    exec: *mut mr_executor,
    recording: *mut mr_recording,
    bindings: *mut mr_bindings,
) -> mr_status {
    guard(|| {
        let engine = handles::get::<Engine, _>(exec)?;
        let recording = handles::get::<Recorded, _>(recording)?;
        let bindings = match bindings.is_null() {
            true => recording.0.bindings(),
            false => handles::lock::<Bound, _>(bindings)?.0.clone(),
        };
        Ok(engine.0.replay(&recording.0, &bindings)?)
    })
}
