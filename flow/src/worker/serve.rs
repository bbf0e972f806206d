//! The loop of a worker: take a task, run it with its hooks, complete it.

use std::cell::RefCell;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Duration;

use mailring_process::clock::monotonic_ns;
use mailring_process::panics::{self, Noted};
use mailring_process::process_tree::{self, Member};
use mailring_process::wait::{RECHECK, park};
use mailring_process::{output, panics::guard};
use smallvec::SmallVec;

use super::connection::{self, DriverConnection};
use super::task::{self, Running};
use crate::profile::frames;
use crate::protocol::call_context::{CallContext, Kept};
use crate::protocol::cell::{Phase, Take};
use crate::protocol::codec::{ALIGN, Aligned, is_misplaced};
use crate::protocol::error::{Cause, Raised};
use crate::protocol::memory::{
    CellRef, Completion, Head, SHORT_COMPLETION, Stamps, arg_word, completion, flags,
};
use crate::protocol::node::{NodeDesc, by_number};
use crate::protocol::notifier::DRIVER_THREAD;
use crate::protocol::options::{Hook, Hooks};
use crate::protocol::output::OutputPipes;
use crate::protocol::wire::{Request, decode};

/// A body that took less cannot have started a process.
const TOO_SHORT_TO_FORK: u64 = 20_000;
/// After a body that took longer, the driver is told in any case.
const SHORT: u64 = 50_000;
/// How long what a failed body has started has between TERM and KILL.
const GRACE: Duration = Duration::from_secs(25);

/// How long what is started again and again is ended again after that.
const LIMIT: Duration = Duration::from_secs(3);

/// Arguments: most calls have few.
type Parts<'a> = SmallVec<[&'a [u8]; 8]>;

struct Server<'s> {
    connection: &'s DriverConnection,
    /// Subprocesses that tasks have left on purpose.
    spared: Vec<Member>,
    /// When the last body ended, if another task was there at once.
    clock: u64,
    /// The driver was not told of a completion, since another task seemed to be there.
    unsaid: bool,
    /// Where arguments go that do not lie as they have to.
    room: Aligned,
    /// Where it says whose text comes.
    pipes: Option<OutputPipes>,
}

/// Serves until it is told to leave.
pub(super) fn serve(connection: &DriverConnection, pipes: Option<OutputPipes>) {
    let actor = RefCell::new(None);
    let mut server = Server {
        connection,
        spared: Vec::new(),
        clock: 0,
        unsaid: false,
        room: Aligned::default(),
        pipes,
    };
    let (memory, place) = (connection.memory(), connection.place());
    let entry = connection.entry();
    let mut next = 1;
    let mut round = 0;
    loop {
        let cell = memory.cell(place, next);
        if cell.state().look(next) == Some(Phase::Posted) {
            cell.expect_read(); // while the exchange is on its way
        }
        match cell.state().take(next) {
            Take::Taken => {
                server.run(&actor, cell, next);
                next += 1;
                round = 0;
                continue;
            }
            Take::Passed => {
                next += 1;
                continue;
            }
            Take::NotYet => {}
        }
        if std::mem::take(&mut server.unsaid) {
            connection.tell(false); // the task was taken back
        }
        server.clock = 0;
        if entry.leave.load(Acquire) != 0 {
            return;
        }
        if connection.wait_strategy().pause(round).is_some() {
            round += 1;
            continue;
        }
        let nothing = || {
            let posted = cell.state().look(next).is_some();
            !posted && entry.leave.load(Acquire) == 0
        };
        park(&entry.parker, || memory.fence_others(), nothing, RECHECK);
        round = 0;
    }
}

impl Server<'_> {
    fn run(&mut self, actor: &Kept, cell: CellRef, seq: u64) {
        let head = cell.head();
        let entry = self.connection.entry();
        let mut room = std::mem::take(&mut self.room);
        let mut completion = {
            let arguments = self.arguments(cell, &head);
            match arguments {
                _ if entry.cancelled.load(Relaxed) == seq + 1 => {
                    Completion { kind: completion::UNRUN, ..Completion::default() }
                }
                Some((mut parts, hooks)) => {
                    cell.state().start(seq);
                    align(&mut parts, &mut room);
                    self.call(actor, cell, seq, &head, &parts, hooks)
                }
                None => Completion { kind: completion::UPSTREAM, ..Completion::default() },
            }
        };
        self.room = room;
        self.connection.keep_all();
        completion.requests = entry.requests_written.load(Relaxed) as u32;
        cell.write_completion(completion);
        cell.state().done(seq);
        self.notify_driver(seq, completion.duration_ns);
    }

    /// Tells the driver, if it wants to know. One who only minds what is left need not be told by
    /// a worker that goes on to another task of the same kind.
    fn notify_driver(&mut self, seq: u64, duration_ns: u32) {
        let notifier = self.connection.memory().notifier();
        let asked = notifier.asked();
        if asked == DRIVER_THREAD && u64::from(duration_ns) < SHORT {
            let next = self.connection.memory().cell(self.connection.place(), seq + 1);
            if next.state().look(seq + 1) == Some(Phase::Posted) {
                self.unsaid = true;
                return;
            }
        }
        self.connection.tell(false);
    }

    /// The encoded arguments, each where it is, and the hooks. `None`: one of them is the value
    /// of an earlier task that has none.
    fn arguments<'a>(&self, cell: CellRef, head: &Head) -> Option<(Parts<'a>, Option<Hooks>)> {
        // SAFETY: the area was written before the task was posted, and stays until the completion.
        let mut bytes: &'static [u8] =
            unsafe { std::slice::from_raw_parts(cell.args(), head.args_len as usize) };
        let memory = self.connection.memory();
        if head.flags & flags::ENVELOPE != 0 {
            let (address, len) = (take_u64(&mut bytes)?, take_u64(&mut bytes)?);
            // SAFETY: the envelope is the task's, until the completion.
            bytes = unsafe { memory.bytes(address, len) }?;
        }
        let mut parts = Parts::new();
        for _ in 0..head.argc {
            let word = take_u32(&mut bytes)?;
            let part = match word & arg_word::KIND {
                0 => {
                    let (part, behind) = bytes.split_at_checked(word as usize)?;
                    bytes = behind;
                    part
                }
                arg_word::PLACED => {
                    let (address, len) = (take_u64(&mut bytes)?, take_u64(&mut bytes)?);
                    // SAFETY: a complete value, which the task holds.
                    unsafe { memory.bytes(address, len) }?
                }
                _ => {
                    let earlier = take_u64(&mut bytes)?;
                    earlier_value(self.connection, earlier)?
                }
            };
            parts.push(part);
        }
        let mut hooks = None;
        if head.flags & flags::HOOKS != 0 {
            hooks = decode(parts.pop()?).ok();
        }
        Some((parts, hooks))
    }

    fn call(
        &mut self,
        actor: &Kept,
        cell: CellRef,
        seq: u64,
        head: &Head,
        parts: &Parts<'_>,
        hooks: Option<Hooks>,
    ) -> Completion {
        let entry = self.connection.entry();
        let started = if self.clock == 0 { monotonic_ns() } else { self.clock };
        if head.flags & flags::TIMED != 0 {
            self.connection.tell(true); // the driver thread minds the clock from now on
        }
        entry.inside.store(seq + 1, Relaxed);
        let Some(desc) = by_number(head.node) else {
            return Completion { kind: completion::UPSTREAM, ..Completion::default() };
        };
        let attempt = u32::from(head.attempt) + 1;
        task::enter(Some(Running { task: head.task, attempt, node: desc.name }));
        if let Some(pipes) = &self.pipes
            && let Some(task) = task::task()
        {
            pipes.begin((task.task, task.attempt), &task.name, &task.worker);
        }
        let stamps = profile(self.connection, head, seq);
        let hooks = hooks.unwrap_or_default();
        let mut call_context =
            CallContext::new(desc.signature(), parts, actor, Some((cell, self.connection)));
        let prepared = hooks.setup.as_ref().map_or(Ok(()), |hook| run_hook(actor, hook));
        let ready = prepared.is_ok();
        if let Some(stamps) = stamps
            && ready
            && hooks.setup.is_some()
        {
            stamps.set_body(monotonic_ns());
        }
        let mut outcome = match prepared {
            Ok(()) => run_guarded(desc, &mut call_context),
            Err(cause) => Err(Cause::Setup(Box::new(cause))),
        };
        self.clock = monotonic_ns();
        if let Some(stamps) = stamps {
            stamps.end(self.clock);
        }
        let duration = self.clock.saturating_sub(started);
        // The children of the driver's process are not of our bodies alone.
        if duration > TOO_SHORT_TO_FORK
            && !self.connection.is_in_process()
            && process_tree::has_children()
        {
            self.look_after_children(actor, outcome.is_err());
        }
        entry.inside.store(0, Relaxed); // the cleanup is not what was cancelled
        if ready
            && let Some(cleanup) = &hooks.cleanup
            && let Err(cause) = run_hook(actor, cleanup)
        {
            // Not by the driver's subscriber: another thread may have held its locks at the fork.
            eprintln!("mailring: a cleanup hook of task {} {cause}", head.task);
        }
        if stamps.is_some() {
            for note in frames::leave_task() {
                self.connection.say(Request::Note(note));
            }
        }
        task::enter(None);
        if !self.connection.is_in_process() {
            output::flush();
        }
        if outcome.is_ok() && call_context.written().is_none() {
            outcome = Err(Cause::Codec("it returned without a completion".to_owned()));
        }
        if let Err(cause) = &outcome {
            call_context.fail(cause);
        }
        let mut completion = call_context.written().unwrap_or_default();
        completion.duration_ns = u32::try_from(duration).unwrap_or(u32::MAX);
        completion
    }

    /// A body that has failed takes what it started with it; one that has returned may leave it.
    #[cold]
    fn look_after_children(&mut self, actor: &Kept, failed: bool) {
        let own = std::process::id() as i32;
        if failed {
            let entry = self.connection.entry();
            let give_up = || entry.leave.load(Relaxed) != 0;
            process_tree::end_descendants(own, &self.spared, GRACE, LIMIT, &give_up);
        }
        let spared = process_tree::descendants(own);
        if spared != self.spared {
            self.spared = spared;
            let members = self.spared.iter().map(|one| (one.pid, one.start)).collect();
            self.connection.say(Request::Spare { members });
        }
        if actor.borrow().is_none() {
            // What nobody waits for any more. An actor may keep children and wait for them.
            process_tree::reap_ended();
        }
    }
}

/// Where the times of a task are to be written, if it is profiled; it begins now.
#[inline]
fn profile<'c>(connection: &'c DriverConnection, head: &Head, seq: u64) -> Option<&'c Stamps> {
    let is_profiled = head.flags & flags::PROFILED != 0;
    if !connection.is_in_process() {
        frames::note_calls(is_profiled);
    }
    is_profiled.then(|| {
        let stamps = connection.memory().stamps(connection.place(), seq);
        stamps.begin(seq, monotonic_ns());
        frames::enter_task(head.task, head.node);
        stamps
    })
}

/// Values that have to lie at a multiple of 64 and do not, as short ones in task descriptors, are
/// copied.
#[inline]
fn align<'a>(parts: &mut Parts<'a>, room: &'a mut Aligned) {
    let lines = |value: &[u8]| value.len().next_multiple_of(ALIGN);
    let misplaced = parts.iter().filter(|value| is_misplaced(value));
    let total: usize = misplaced.map(|value| lines(value)).sum();
    if total == 0 {
        return;
    }
    let mut rest = room.room(total);
    for value in parts.iter_mut().filter(|value| is_misplaced(value)) {
        let (here, behind) = rest.split_at_mut(lines(value));
        here[..value.len()].copy_from_slice(value);
        *value = &here[..value.len()];
        rest = behind;
    }
}

fn run_hook(actor: &Kept, hook: &Hook) -> Result<(), Cause> {
    let mut room = Aligned::default();
    let mut parts: Parts<'_> = hook.args.iter().map(Vec::as_slice).collect();
    align(&mut parts, &mut room);
    let desc = by_number(hook.node);
    let desc = desc.ok_or_else(|| Cause::Codec("names no node".to_owned()))?;
    run_guarded(desc, &mut CallContext::new(desc.signature(), &parts, actor, None))
}

fn run_guarded(desc: &'static NodeDesc, call_context: &mut CallContext<'_>) -> Result<(), Cause> {
    match guard(|| (desc.run)(call_context)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(raised)) => Err(Raised::at_node(raised, desc.file, desc.line).0),
        Err(message) => {
            let Noted { at, backtrace } = panics::take();
            if let Some((text, connection)) = backtrace.zip(connection::line()) {
                connection.say(Request::Backtrace { text });
            }
            Err(Cause::Panicked { message, at })
        }
    }
}

/// The value of an earlier task of this worker, where it is.
fn earlier_value(connection: &DriverConnection, seq: u64) -> Option<&'static [u8]> {
    let memory = connection.memory();
    let cell = memory.cell(connection.place(), seq);
    if cell.state().look(seq) != Some(Phase::Done) {
        return None;
    }
    let completion = cell.completion();
    match completion.kind {
        completion::VALUE => {
            let len = completion.len as usize;
            let first = if len <= SHORT_COMPLETION { cell.short() } else { cell.long() };
            // SAFETY: our own completion, in a cell that is not used again while this task, which
            // looks back at it, is not over.
            Some(unsafe { std::slice::from_raw_parts(first, len) })
        }
        completion::PLACED => {
            let [address, len] = completion.short;
            // SAFETY: our own value, which this task holds.
            unsafe { memory.bytes(address, len) }
        }
        _ => None,
    }
}

fn take_u32(bytes: &mut &'static [u8]) -> Option<u32> {
    let (word, behind) = bytes.split_first_chunk()?;
    *bytes = behind;
    Some(u32::from_ne_bytes(*word))
}

fn take_u64(bytes: &mut &'static [u8]) -> Option<u64> {
    let (word, behind) = bytes.split_first_chunk()?;
    *bytes = behind;
    Some(u64::from_ne_bytes(*word))
}
