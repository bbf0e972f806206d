//! The loop of a worker: take a letter, run it with its hooks, reply.

use std::cell::RefCell;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::time::Duration;

use smallvec::SmallVec;

use super::client::{self, Client};
use super::context::{self, Running};
use super::frame::{Frame, Kept};
use crate::flow::args::decode;
use crate::flow::codec::{ALIGN, Aligned, is_misplaced};
use crate::flow::driver::wire;
use crate::flow::error::{Cause, Raised};
use crate::flow::memory::{CellRef, Head, Reply, SHORT_REPLY, flags, reply};
use crate::flow::node::{NodeDesc, by_number};
use crate::flow::options::{Hook, Hooks};
use crate::flow::output::Speech;
use crate::flow::wire::Ask;
use crate::mailbox::bell::KEEPER;
use crate::mailbox::cell::{Phase, Take};
use crate::mailbox::door;
use crate::sys::family::{self, Member};
use crate::sys::futex;
use crate::worker::panics::{self, Noted};
use crate::worker::participant::monotonic_ns;
use crate::worker::{guard, output};

/// A sleep that nobody ends is looked at again after this long.
const RECHECK: Duration = Duration::from_secs(1);
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
    client: &'s Client,
    /// Subprocesses that tasks have left on purpose.
    spared: Vec<Member>,
    /// When the last body ended, if another letter was there at once.
    clock: u64,
    /// The driver was not told of a reply, since another letter seemed to be there.
    unsaid: bool,
    /// Where arguments go that do not lie as they have to.
    room: Aligned,
    /// Where it says whose text comes.
    speech: Option<Speech>,
}

/// Serves until it is told to leave.
pub(super) fn serve(client: &Client, speech: Option<Speech>) {
    let actor = RefCell::new(None);
    let mut server = Server {
        client,
        spared: Vec::new(),
        clock: 0,
        unsaid: false,
        room: Aligned::default(),
        speech,
    };
    let (memory, place) = (client.memory(), client.place());
    let entry = client.entry();
    let mut next = 1;
    let mut round = 0;
    loop {
        let cell = memory.cell(place, next);
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
            client.tell(false); // the letter was taken back
        }
        server.clock = 0;
        if entry.leave.load(Acquire) != 0 {
            return;
        }
        if client.wait_strategy().pause(round).is_some() {
            round += 1;
            continue;
        }
        entry.door.store(door::ASLEEP, SeqCst);
        memory.fence_others();
        let nothing = || {
            let posted = cell.state().look(next).is_some();
            !posted && entry.leave.load(Acquire) == 0
        };
        if nothing() {
            futex::wait(&entry.door, door::ASLEEP, Some(RECHECK));
        }
        entry.door.store(door::AWAKE, SeqCst);
        round = 0;
    }
}

impl Server<'_> {
    fn run(&mut self, actor: &Kept, cell: CellRef, seq: u64) {
        let head = cell.head();
        let entry = self.client.entry();
        let mut room = std::mem::take(&mut self.room);
        let mut reply = {
            let arguments = self.arguments(cell, &head);
            match arguments {
                _ if entry.cancelled.load(Relaxed) == seq + 1 => {
                    Reply { kind: reply::UNRUN, ..Reply::default() }
                }
                Some((mut parts, hooks)) => {
                    cell.state().start(seq);
                    align(&mut parts, &mut room);
                    self.call(actor, cell, seq, &head, &parts, hooks)
                }
                None => Reply { kind: reply::UPSTREAM, ..Reply::default() },
            }
        };
        self.room = room;
        self.client.keep_all();
        reply.asks = entry.asks_written.load(Relaxed) as u32;
        cell.write_reply(reply);
        cell.state().done(seq);
        self.ring(seq, reply.duration_ns);
    }

    /// Tells the driver, if it wants to know. One who only minds what is left need not be told by
    /// a worker that goes on to another letter of the same kind.
    fn ring(&mut self, seq: u64, duration_ns: u32) {
        let bell = self.client.memory().bell();
        let asked = bell.asked();
        if asked == KEEPER && u64::from(duration_ns) < SHORT {
            let next = self.client.memory().cell(self.client.place(), seq + 1);
            if next.state().look(seq + 1) == Some(Phase::Posted) {
                self.unsaid = true;
                return;
            }
        }
        self.client.tell(false);
    }

    /// The encoded arguments, each where it is, and the hooks. `None`: one of them is the value
    /// of an earlier letter that has none.
    fn arguments<'a>(&self, cell: CellRef, head: &Head) -> Option<(Parts<'a>, Option<Hooks>)> {
        // SAFETY: the area was written before the letter was posted, and stays until the reply.
        let mut bytes: &'static [u8] =
            unsafe { std::slice::from_raw_parts(cell.args(), head.args_len as usize) };
        let memory = self.client.memory();
        if head.flags & flags::ENVELOPE != 0 {
            let (address, len) = (take_u64(&mut bytes)?, take_u64(&mut bytes)?);
            // SAFETY: the envelope is the letter's, until the reply.
            bytes = unsafe { memory.bytes(address, len) }?;
        }
        let mut parts = Parts::new();
        for _ in 0..head.argc {
            let word = take_u32(&mut bytes)?;
            let part = match word & wire::KIND {
                0 => {
                    let (part, behind) = bytes.split_at_checked(word as usize)?;
                    bytes = behind;
                    part
                }
                wire::PLACED => {
                    let (address, len) = (take_u64(&mut bytes)?, take_u64(&mut bytes)?);
                    // SAFETY: a complete value, which the task holds.
                    unsafe { memory.bytes(address, len) }?
                }
                _ => {
                    let earlier = take_u64(&mut bytes)?;
                    earlier_value(self.client, earlier)?
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
    ) -> Reply {
        let entry = self.client.entry();
        let started = if self.clock == 0 { monotonic_ns() } else { self.clock };
        if head.flags & flags::TIMED != 0 {
            self.client.tell(true); // the keeper minds the clock from now on
        }
        entry.inside.store(seq + 1, Relaxed);
        let Some(desc) = by_number(head.node) else {
            return Reply { kind: reply::UPSTREAM, ..Reply::default() };
        };
        let attempt = u32::from(head.attempt) + 1;
        context::enter(Some(Running { task: head.task, attempt, node: desc.name }));
        if let Some(speech) = &self.speech {
            speech.begin();
        }
        let hooks = hooks.unwrap_or_default();
        let mut frame = Frame::new(desc, parts, actor, Some((cell, self.client)));
        let prepared = hooks.setup.as_ref().map_or(Ok(()), |hook| run_hook(actor, hook));
        let ready = prepared.is_ok();
        let mut outcome = match prepared {
            Ok(()) => run_guarded(desc, &mut frame),
            Err(cause) => Err(Cause::Setup(Box::new(cause))),
        };
        self.clock = monotonic_ns();
        let duration = self.clock.saturating_sub(started);
        // The children of the driver's process are not of our bodies alone.
        if duration > TOO_SHORT_TO_FORK && !self.client.is_in_process() && family::has_children() {
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
        context::enter(None);
        if !self.client.is_in_process() {
            output::flush();
        }
        if outcome.is_ok() && frame.written().is_none() {
            outcome = Err(Cause::Codec("it returned without a reply".to_owned()));
        }
        if let Err(cause) = &outcome {
            frame.fail(cause);
        }
        let mut reply = frame.written().unwrap_or_default();
        reply.duration_ns = u32::try_from(duration).unwrap_or(u32::MAX);
        reply
    }

    /// A body that has failed takes what it started with it; one that has returned may leave it.
    #[cold]
    fn look_after_children(&mut self, actor: &Kept, failed: bool) {
        let own = std::process::id() as i32;
        if failed {
            let entry = self.client.entry();
            let give_up = || entry.leave.load(Relaxed) != 0;
            family::end_descendants(own, &self.spared, GRACE, LIMIT, &give_up);
        }
        let spared = family::descendants(own);
        if spared != self.spared {
            self.spared = spared;
            let members = self.spared.iter().map(|one| (one.pid, one.start)).collect();
            self.client.say(Ask::Spare { members });
        }
        if actor.borrow().is_none() {
            // What nobody waits for any more. An actor may keep children and wait for them.
            family::reap_ended();
        }
    }
}

/// Values that have to lie at a multiple of 64 and do not, as short ones in letters, are copied.
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
    run_guarded(desc, &mut Frame::new(desc, &parts, actor, None))
}

fn run_guarded(desc: &'static NodeDesc, frame: &mut Frame<'_>) -> Result<(), Cause> {
    match guard(|| (desc.run)(frame)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(raised)) => Err(Raised::at_node(raised, desc.file, desc.line).0),
        Err(message) => {
            let Noted { at, backtrace } = panics::take();
            if let Some((text, client)) = backtrace.zip(client::current()) {
                client.say(Ask::Backtrace { text });
            }
            Err(Cause::Panicked { message, at })
        }
    }
}

/// The value of an earlier letter of this worker, where it is.
fn earlier_value(client: &Client, seq: u64) -> Option<&'static [u8]> {
    let memory = client.memory();
    let cell = memory.cell(client.place(), seq);
    if cell.state().look(seq) != Some(Phase::Done) {
        return None;
    }
    let reply = cell.reply();
    match reply.kind {
        reply::VALUE => {
            let len = reply.len as usize;
            let first = if len <= SHORT_REPLY { cell.short() } else { cell.long() };
            // SAFETY: our own reply, in a cell that is not used again while this letter, which
            // looks back at it, is not over.
            Some(unsafe { std::slice::from_raw_parts(first, len) })
        }
        reply::PLACED => {
            let [address, len] = reply.short;
            // SAFETY: our own value, which the task of this letter holds.
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
