//! A worker's line to the driver: what it asks, and the refs that its handles name.

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::flow::args::{self, ArgWriter};
use crate::flow::cancel::{Cancel, CancelReport, Target};
use crate::flow::codec;
use crate::flow::error::Error;
use crate::flow::memory::{Entry, Memory};
use crate::flow::node::{NodeDesc, number_of};
use crate::flow::options::Overrides;
use crate::flow::pending::Pending;
use crate::flow::reference::{Fill, Handle, Name, Side};
use crate::flow::value::{Encoded, OWN_PAGES};
use crate::flow::wire::{About, Answer, Ask, Numbered, WireValue};
use crate::mailbox::bell::{KEEPER, THREAD};
use crate::mailbox::door;
use crate::sys::futex;
use crate::worker::participant::WaitStrategy;
use crate::worker::poke::ring;

/// Refs that are asked for at the same time.
const AT_ONCE: usize = 1000;
/// Refs that a body waits for at the same time: so many fit a message.
const MOST: usize = 3000;
/// Values that are asked for at the same time: each may stand in the answer.
const VALUES_AT_ONCE: usize = 64;
/// A sleep that nobody ends is looked at again after this long.
const RECHECK: Duration = Duration::from_millis(100);

/// How many handles of this process name an object, and whether the driver knows of it. If not,
/// the task holds it, until its end.
#[derive(Default)]
struct Count {
    handles: usize,
    known: bool,
}

/// The counts, and those that may be unknown to the driver.
#[derive(Default)]
struct Counts {
    all: HashMap<u64, Count>,
    unknown: Vec<u64>,
}

/// Where small results go.
#[derive(Default)]
pub(super) struct Pocket {
    address: u64,
    len: u64,
    used: u64,
}

/// The line of this process.
pub(in crate::flow) struct Client {
    memory: Arc<Memory>,
    place: u16,
    keeper: Arc<OwnedFd>,
    wait: WaitStrategy,
    number: AtomicU64,
    sending: Mutex<()>,
    /// Answers for other threads than the one that read them.
    inbox: Mutex<HashMap<u64, Answer>>,
    counts: Mutex<Counts>,
    /// Whether some of the counts may be unknown to the driver.
    counting: AtomicBool,
    pocket: Mutex<Pocket>,
    /// Nobody is at the other end: the thread has ended, or the flow has. Only in this process.
    over: AtomicBool,
}

/// A hold on a line: a worker process has one for good, and a worker that is a thread of the
/// driver's process one for as long as anybody uses it.
#[derive(Clone)]
pub(in crate::flow) enum Line {
    Process(&'static Client),
    Thread(Arc<Client>),
}

impl Deref for Line {
    type Target = Client;

    #[inline]
    fn deref(&self) -> &Client {
        match self {
            Self::Process(client) => client,
            Self::Thread(client) => client,
        }
    }
}

static CLIENT: AtomicPtr<Client> = AtomicPtr::new(std::ptr::null_mut());

thread_local! {
    /// The line of this thread, if it is a worker of a flow of this process.
    static OWN: Cell<*const Client> = const { Cell::new(std::ptr::null()) };
}

/// Makes it the line of this process, for good.
pub(super) fn install(client: Client) -> &'static Client {
    OWN.set(std::ptr::null()); // of the thread that the process was forked from
    let client = Box::leak(Box::new(client));
    CLIENT.store(client, Release);
    client
}

/// The calling thread is a worker for as long as this lives.
pub(super) struct Entered {
    /// What the thread's word points to.
    _client: Arc<Client>,
}

/// Makes it the line of this thread.
pub(super) fn enter(client: &Arc<Client>) -> Entered {
    OWN.set(Arc::as_ptr(client));
    Entered { _client: Arc::clone(client) }
}

impl Drop for Entered {
    fn drop(&mut self) {
        OWN.set(std::ptr::null());
    }
}

/// The line of this thread or process, if it is a worker.
pub(in crate::flow) fn current() -> Option<Line> {
    let own = OWN.get();
    if !own.is_null() {
        // SAFETY: made from an `Arc` that the thread's `Entered` holds until it clears the word.
        let client = unsafe {
            Arc::increment_strong_count(own);
            Arc::from_raw(own)
        };
        return Some(Line::Thread(client));
    }
    // SAFETY: only ever a leaked box, of this process or of one it was forked from.
    unsafe { CLIENT.load(Acquire).as_ref() }.map(Line::Process)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    pub(super) fn new(
        memory: Arc<Memory>,
        place: u16,
        keeper: &Arc<OwnedFd>,
        wait: WaitStrategy,
    ) -> Self {
        Self {
            memory,
            place,
            keeper: Arc::clone(keeper),
            wait,
            number: AtomicU64::new(0),
            sending: Mutex::new(()),
            inbox: Mutex::default(),
            counts: Mutex::default(),
            counting: AtomicBool::new(false),
            pocket: Mutex::default(),
            over: AtomicBool::new(false),
        }
    }

    /// Whether this is the line of a thread of the driver's process.
    pub(super) fn is_in_process(&self) -> bool {
        self.memory.in_process
    }

    /// Which flow it is of: refs of another mean nothing here.
    pub(in crate::flow) fn stamp(&self) -> usize {
        Arc::as_ptr(&self.memory) as usize
    }

    /// Nothing is said or read from here on: whoever has a hold on this line still, in a static or
    /// on another thread, is told that it is closed. Its place is for others.
    pub(in crate::flow) fn close(&self) {
        self.over.store(true, SeqCst);
        // Who was in the middle of it is through.
        drop(lock(&self.sending));
        drop(lock(&self.inbox));
    }

    /// The objects that handles of this line name.
    pub(in crate::flow) fn named(&self) -> Vec<u64> {
        lock(&self.counts).all.keys().copied().collect()
    }

    fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn place(&self) -> u16 {
        self.place
    }

    pub(super) fn wait_strategy(&self) -> WaitStrategy {
        self.wait
    }

    pub(super) fn entry(&self) -> &Entry {
        self.memory.entry(self.place)
    }

    /// Tells the driver that there is something, if it wants to know; or in any case.
    pub(super) fn tell(&self, in_any_case: bool) {
        let bell = self.memory.bell();
        let asked = bell.asked();
        if asked == THREAD && bell.take(THREAD) {
            self.memory.bell_word().fetch_add(1, SeqCst);
            futex::wake(self.memory.bell_word(), i32::MAX);
        } else if in_any_case || (asked == KEEPER && bell.take(KEEPER)) {
            ring(&self.keeper);
        }
    }

    // ---- asking -----------------------------------------------------------------------------

    /// Sends what has no answer.
    pub(super) fn say(&self, what: Ask) {
        self.send(0, what);
    }

    fn send(&self, number: u64, what: Ask) {
        let Ok(message) = args::encode(&Numbered { number, what }) else { return };
        let _sending = lock(&self.sending);
        let asks = self.memory.asks(self.place);
        while !self.is_over() && !asks.push(&message) {
            if message.len() > asks.longest() {
                return; // refused before it comes to this
            }
            self.tell(true);
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    fn ask(&self, what: Ask) -> Result<Answer, Error> {
        let number = self.number.fetch_add(1, Relaxed) + 1;
        self.send(number, what);
        self.tell(true);
        let mut round = 0;
        loop {
            if let Some(answer) = self.answer(number)? {
                return match answer {
                    Answer::Refused(error) => Err(error),
                    answer => Ok(answer),
                };
            }
            if self.wait.pause(round).is_some() {
                round += 1;
                continue;
            }
            let door = &self.entry().door;
            door.store(door::ASLEEP, SeqCst);
            self.memory.fence_others();
            if !self.memory.answers(self.place).has_some() {
                futex::wait(door, door::ASLEEP, Some(RECHECK));
            }
            door.store(door::AWAKE, SeqCst);
            round = 0;
        }
    }

    fn answer(&self, number: u64) -> Result<Option<Answer>, Error> {
        let mut inbox = lock(&self.inbox);
        if self.is_over() {
            return Err(Error::Closed("the worker thread of this ref has ended".to_owned()));
        }
        let answers = self.memory.answers(self.place);
        while answers.has_some() {
            let broken = || Error::Closed("the driver's answer cannot be read".to_owned());
            let message = answers.pop().map_err(|_| broken())?;
            let message = message.ok_or_else(broken)?;
            let read = args::decode::<Numbered<Answer>>(&message).map_err(|_| broken())?;
            inbox.insert(read.number, read.what);
        }
        Ok(inbox.remove(&number))
    }

    fn unexpected<T>(answer: &Answer) -> Result<T, Error> {
        Err(Error::Closed(format!("the driver answered {answer:?}")))
    }

    // ---- counts -----------------------------------------------------------------------------

    pub(in crate::flow) fn retain(&self, id: u64) {
        let mut counts = lock(&self.counts);
        let Counts { all, unknown } = &mut *counts;
        let count = all.entry(id).or_default();
        count.handles += 1;
        if count.handles == 1 {
            unknown.push(id);
            self.counting.store(true, Relaxed);
        }
    }

    pub(in crate::flow) fn release(&self, id: u64) {
        let mut counts = lock(&self.counts);
        let Some(count) = counts.all.get_mut(&id) else { return };
        count.handles -= 1;
        if count.handles == 0 {
            let known = count.known;
            counts.all.remove(&id);
            if known {
                self.say(Ask::Release { id });
            }
        }
    }

    /// Tells the driver of objects that handles name and only a task, or another value, holds.
    pub(super) fn keep_all(&self) {
        if !self.counting.swap(false, Relaxed) {
            return;
        }
        let mut counts = lock(&self.counts);
        let Counts { all, unknown } = &mut *counts;
        let mut ids = Vec::new();
        for id in unknown.drain(..) {
            if let Some(count) = all.get_mut(&id)
                && !std::mem::replace(&mut count.known, true)
            {
                ids.push(id);
            }
        }
        // Under the lock: no handle that is dropped meanwhile is let go before it was kept.
        for ids in ids.chunks(AT_ONCE) {
            self.say(Ask::Keep { ids: ids.to_vec() });
        }
    }

    // ---- what handles and bodies need -------------------------------------------------------

    fn ask_checked(&self, ask: Ask) -> Result<Answer, Error> {
        let encoded = args::encode(&ask).map_err(Error::Invalid)?;
        let longest = self.memory.asks(self.place).longest() - 64;
        if encoded.len() > longest {
            return Err(Error::Invalid(format!(
                "a call from inside a task is {} bytes with its options and refs, more than {longest}; pass fewer refs, or a gathered one",
                encoded.len()
            )));
        }
        self.ask(ask)
    }

    pub(in crate::flow) fn kill(&self, actor: u64) -> Result<(), Error> {
        self.ask(Ask::Kill { actor }).map(drop)
    }

    pub(in crate::flow) fn cancel(
        &self,
        target: &Target,
        cancel: Cancel,
    ) -> Result<Vec<CancelReport>, Error> {
        let ask = |target| match self.ask(Ask::Cancel { target, cancel })? {
            Answer::Reports(reports) => Ok(reports),
            other => Self::unexpected(&other),
        };
        let Target::Refs(ids) = target else { return ask(target.clone()) };
        let parts = ids.chunks(AT_ONCE).map(|ids| ask(Target::Refs(ids.to_vec())));
        parts.collect::<Result<Vec<_>, _>>().map(|reports| reports.concat())
    }

    pub(super) fn about(&self, task: u64) -> Result<About, Error> {
        match self.ask(Ask::About { task })? {
            Answer::About(about) => Ok(about),
            other => Self::unexpected(&other),
        }
    }

    pub(in crate::flow) fn pending(&self, id: u64) -> Result<Pending, Error> {
        match self.ask(Ask::Pending { id })? {
            Answer::Pending(pending) => Ok(pending),
            other => Self::unexpected(&other),
        }
    }

    /// Waits until `need` are complete, or the time is over: which are.
    pub(in crate::flow) fn wait_some(
        &self,
        ids: &[u64],
        need: usize,
        until: Option<Instant>,
    ) -> Result<Vec<bool>, Error> {
        if ids.len() > MOST {
            return Err(Error::Invalid(format!(
                "a body waits for at most {MOST} refs at a time, and these are {}; wait for them in parts, or have the driver wait",
                ids.len()
            )));
        }
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        match self.ask_checked(Ask::Wait { ids: ids.to_vec(), need, timeout })? {
            Answer::Settled(ready) => Ok(ready),
            other => Self::unexpected(&other),
        }
    }

    pub(in crate::flow) fn wait_for(&self, id: u64, until: Option<Instant>) -> Result<(), Error> {
        let started = Instant::now();
        match self.wait_some(&[id], 1, until)?[..] {
            [true] => Ok(()),
            _ => Err(Error::Timeout("the value".to_owned(), started.elapsed())),
        }
    }

    fn values(&self, ids: &[u64], until: Option<Instant>) -> Result<Vec<Encoded>, Error> {
        let started = Instant::now();
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let values = match self.ask(Ask::Values { ids: ids.to_vec(), timeout })? {
            Answer::Values(values) => values,
            Answer::TimedOut => {
                return Err(Error::Timeout("the value".to_owned(), started.elapsed()));
            }
            other => return Self::unexpected(&other),
        };
        let values = values.into_iter().map(|value| match value {
            WireValue::Inline(bytes) => Ok(Encoded::Copied(bytes)),
            WireValue::Placed { address, len } if self.memory.holds(address, len) => {
                Ok(Encoded::Placed { address, len })
            }
            WireValue::Placed { .. } => Err(Error::Closed("a value lies nowhere".to_owned())),
            WireValue::Failed(error) => Err((*error).into()),
        });
        values.collect()
    }

    pub(in crate::flow) fn encoded(
        &self,
        id: u64,
        until: Option<Instant>,
    ) -> Result<Encoded, Error> {
        let mut values = self.values(&[id], until)?;
        values.pop().ok_or_else(|| Error::Closed("an answer without a value".to_owned()))
    }

    pub(in crate::flow) fn get<T: DeserializeOwned>(
        &self,
        id: u64,
        until: Option<Instant>,
    ) -> Result<T, Error> {
        let mut values = self.get_all(&[id], until)?;
        values.pop().ok_or_else(|| Error::Closed("an answer without a value".to_owned()))
    }

    pub(in crate::flow) fn get_all<T: DeserializeOwned>(
        &self,
        ids: &[u64],
        until: Option<Instant>,
    ) -> Result<Vec<T>, Error> {
        let mut values = Vec::with_capacity(ids.len());
        for ids in ids.chunks(VALUES_AT_ONCE) {
            for encoded in self.values(ids, until)? {
                // SAFETY: the caller's handles hold the objects.
                let value = codec::decode(unsafe { encoded.bytes() }, None);
                let wrong = |fault: codec::Fault| Error::Decode {
                    what: "the value".to_owned(),
                    why: fault.to_string(),
                };
                values.push(value.map_err(wrong)?);
            }
            // Refs inside, before the values that hold them may go.
            self.keep_all();
        }
        Ok(values)
    }

    /// Opens pages of our own, has them filled, and closes them: from here on nobody writes them.
    fn fill(&self, address: u64, bytes: u64, fill: Fill<'_>) -> Result<(), Error> {
        let opened = Error::system("opening memory for a value");
        self.memory.open(address, bytes.max(1), true).map_err(opened)?;
        // Closed in any case, also when a serialiser of the user panics.
        struct Close<'a>(&'a Memory, u64, u64);
        impl Drop for Close<'_> {
            fn drop(&mut self) {
                let _ = self.0.open(self.1, self.2, false);
            }
        }
        let _close = Close(&self.memory, address, bytes.max(1));
        // SAFETY: lent to us alone just now.
        if let Some(room) = unsafe { self.memory.room(address, bytes) } {
            fill(room);
        }
        Ok(())
    }

    /// A place for an encoded value of `bytes`, filled by `fill`.
    pub(super) fn place_value(
        &self,
        bytes: u64,
        urgent: bool,
        fill: Fill<'_>,
    ) -> Result<u64, Error> {
        let room = |bytes| match self.ask(Ask::Room { bytes, urgent })? {
            Answer::Room { address, len } => Ok((address, len)),
            other => Self::unexpected(&other),
        };
        if bytes >= OWN_PAGES {
            let (address, _) = room(bytes)?;
            self.fill(address, bytes, fill)?;
            return Ok(address);
        }
        let mut pocket = lock(&self.pocket);
        let used = pocket.used.next_multiple_of(codec::ALIGN as u64);
        if used + bytes > pocket.len {
            let (address, len) = room(bytes)?;
            let opened = Error::system("opening memory for values");
            if pocket.len > 0 {
                let _ = self.memory.open(pocket.address, pocket.len, false);
            }
            self.memory.open(address, len, true).map_err(opened)?;
            *pocket = Pocket { address, len, used: 0 };
        } else {
            pocket.used = used;
        }
        let address = pocket.address + pocket.used;
        pocket.used += bytes;
        // SAFETY: our pocket, and the part behind all that was given away.
        if let Some(room) = unsafe { self.memory.room(address, bytes) } {
            fill(room);
        }
        Ok(address)
    }

    /// Whether these bytes are values at all; whose they are only the driver knows.
    pub(in crate::flow) fn is_block(&self, address: u64, len: u64) -> bool {
        self.memory.holds(address, len)
    }
}

impl Line {
    /// A handle that the driver has counted already.
    fn counted(&self, name: Name) -> Handle {
        let id = name.id;
        let mut counts = lock(&self.counts);
        let count = counts.all.entry(id).or_default();
        count.handles += 1;
        if std::mem::replace(&mut count.known, true) {
            // Known before: the driver has one count for this process more than it needs.
            self.say(Ask::Release { id });
        }
        Handle::counted(name, Side::Worker(self.clone()))
    }

    pub(in crate::flow) fn dispatch(
        &self,
        node: &'static NodeDesc,
        overrides: Option<&Overrides>,
        writer: ArgWriter,
        actor: Option<u64>,
    ) -> Result<Handle, Error> {
        let (args, held) = writer.finish(node)?;
        let overrides = overrides.map(|over| Box::new(over.clone()));
        let ask = Ask::Submit { node: number_of(node), args, overrides, actor };
        let answer = self.ask_checked(ask)?;
        drop(held);
        match answer {
            Answer::Task(name) => Ok(self.counted(name)),
            other => Client::unexpected(&other),
        }
    }

    pub(in crate::flow) fn spawn(
        &self,
        node: &'static NodeDesc,
        overrides: &Overrides,
        max_restarts: Option<i32>,
        writer: ArgWriter,
    ) -> Result<u64, Error> {
        let (args, held) = writer.finish(node)?;
        let overrides = Box::new(overrides.clone());
        let ask = Ask::Spawn { node: number_of(node), args, overrides, max_restarts };
        let answer = self.ask_checked(ask)?;
        drop(held);
        match answer {
            Answer::Actor(id) => Ok(id),
            other => Client::unexpected(&other),
        }
    }

    /// A block that others share, filled by `fill`.
    pub(in crate::flow) fn new_block(
        &self,
        bytes: u64,
        fill: Fill<'_>,
    ) -> Result<(Handle, u64), Error> {
        let (id, address) = match self.ask(Ask::Block { bytes })? {
            Answer::Block { id, address } => (id, address),
            other => return Client::unexpected(&other),
        };
        let handle = self.counted(Name::block(id));
        self.fill(address, bytes, fill)?;
        Ok((handle, address))
    }
}
