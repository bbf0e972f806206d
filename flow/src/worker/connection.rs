//! A worker's connection to the driver: its requests, and the refs that its handles name.

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mailring_process::futex;
use mailring_process::wait::{WaitStrategy, park};
use mailring_process::wakeup::notify;

use crate::cache::store::{Cache, Place};
use crate::config::call::{Condition, Dispatch};
use crate::protocol::args::Args;
use crate::protocol::call_context::ResultSink;
use crate::protocol::cancel::{Cancel, CancelReport, Target};
use crate::protocol::codec;
use crate::protocol::error::Error;
use crate::protocol::handle::{Each, Endpoint, Fill, Given, Name, Side};
use crate::protocol::memory::{Entry, Memory};
use crate::protocol::node::{SAME, number_of};
use crate::protocol::note::Note;
use crate::protocol::notifier::{DRIVER_THREAD, THREAD};
use crate::protocol::options::Overrides;
use crate::protocol::pending::Pending;
use crate::protocol::value::{Encoded, OWN_PAGES};
use crate::protocol::wire::{self, About, Numbered, Request, Response, WireValue};

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
pub(super) struct BumpArea {
    address: u64,
    len: u64,
    used: u64,
}

/// The line of this process.
pub(crate) struct DriverConnection {
    memory: Arc<Memory>,
    place: u16,
    driver_thread: Arc<OwnedFd>,
    wait: WaitStrategy,
    number: AtomicU64,
    sending: Mutex<()>,
    /// Answers for other threads than the one that read them.
    inbox: Mutex<HashMap<u64, Response>>,
    counts: Mutex<Counts>,
    /// Whether some of the counts may be unknown to the driver.
    counting: AtomicBool,
    bump_area: Mutex<BumpArea>,
    /// Nobody is at the other end: the thread has ended, or the flow has. Only in this process.
    over: AtomicBool,
}

/// A hold on a line: a worker process has one for good, and a worker that is a thread of the
/// driver's process one for as long as anybody uses it.
pub(super) enum Line {
    Process(&'static DriverConnection),
    Thread(Arc<DriverConnection>),
}

impl Deref for Line {
    type Target = DriverConnection;

    #[inline]
    fn deref(&self) -> &DriverConnection {
        match self {
            Self::Process(connection) => connection,
            Self::Thread(connection) => connection,
        }
    }
}

static CONNECTION: AtomicPtr<DriverConnection> = AtomicPtr::new(std::ptr::null_mut());

thread_local! {
    /// The line of this thread, if it is a worker of a flow of this process.
    static OWN: Cell<*const DriverConnection> = const { Cell::new(std::ptr::null()) };
}

/// Makes it the line of this process, for good.
pub(super) fn install(connection: DriverConnection) -> &'static DriverConnection {
    OWN.set(std::ptr::null()); // of the thread that the process was forked from
    let connection = Box::leak(Box::new(connection));
    CONNECTION.store(connection, Release);
    connection
}

/// The calling thread is a worker for as long as this lives.
pub(super) struct Entered {
    /// What the thread's word points to.
    _client: Arc<DriverConnection>,
}

/// Makes it the line of this thread.
pub(super) fn enter(connection: &Arc<DriverConnection>) -> Entered {
    OWN.set(Arc::as_ptr(connection));
    Entered { _client: Arc::clone(connection) }
}

impl Drop for Entered {
    fn drop(&mut self) {
        OWN.set(std::ptr::null());
    }
}

/// The line of this thread or process, if it is a worker, as handles hold it.
pub(crate) fn current() -> Option<Side> {
    line().map(|line| match line {
        Line::Process(connection) => Side::Process(connection),
        Line::Thread(connection) => Side::Counted(connection),
    })
}

/// The line of this thread or process, if it is a worker.
pub(super) fn line() -> Option<Line> {
    let own = OWN.get();
    if !own.is_null() {
        // SAFETY: made from an `Arc` that the thread's `Entered` holds until it clears the word.
        let connection = unsafe {
            Arc::increment_strong_count(own);
            Arc::from_raw(own)
        };
        return Some(Line::Thread(connection));
    }
    // SAFETY: only ever a leaked box, of this process or of one it was forked from.
    unsafe { CONNECTION.load(Acquire).as_ref() }.map(Line::Process)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DriverConnection {
    pub(super) fn new(
        memory: Arc<Memory>,
        place: u16,
        driver_thread: &Arc<OwnedFd>,
        wait: WaitStrategy,
    ) -> Self {
        Self {
            memory,
            place,
            driver_thread: Arc::clone(driver_thread),
            wait,
            number: AtomicU64::new(0),
            sending: Mutex::new(()),
            inbox: Mutex::default(),
            counts: Mutex::default(),
            counting: AtomicBool::new(false),
            bump_area: Mutex::default(),
            over: AtomicBool::new(false),
        }
    }

    /// Whether this is the line of a thread of the driver's process.
    pub(super) fn is_in_process(&self) -> bool {
        self.memory.in_process
    }

    /// Nothing is said or read from here on: whoever has a hold on this line still, in a static or
    /// on another thread, is told that it is closed. Its place is for others.
    pub(crate) fn close(&self) {
        self.over.store(true, SeqCst);
        // Who was in the middle of it is through.
        drop(lock(&self.sending));
        drop(lock(&self.inbox));
    }

    /// The objects that handles of this line name.
    pub(crate) fn named(&self) -> Vec<u64> {
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
        let notifier = self.memory.notifier();
        let asked = notifier.asked();
        if asked == THREAD && notifier.take(THREAD) {
            self.memory.notifier_word().fetch_add(1, SeqCst);
            futex::wake(self.memory.notifier_word(), i32::MAX);
        } else if in_any_case || (asked == DRIVER_THREAD && notifier.take(DRIVER_THREAD)) {
            notify(&self.driver_thread);
        }
    }

    // ---- asking -----------------------------------------------------------------------------

    /// Sends what has no answer.
    pub(super) fn say(&self, what: Request) {
        self.send(0, &what);
    }

    fn send(&self, number: u64, what: &Request) {
        let Ok(message) = wire::encode(&Numbered { number, what }) else { return };
        let _sending = lock(&self.sending);
        let requests = self.memory.requests(self.place);
        while !self.is_over() && !requests.push(&message) {
            if message.len() > requests.longest() {
                return; // refused before it comes to this
            }
            self.tell(true);
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    fn request(&self, what: Request) -> Result<Response, Error> {
        self.ask(&what)
    }

    fn ask(&self, what: &Request) -> Result<Response, Error> {
        let number = self.number.fetch_add(1, Relaxed) + 1;
        self.send(number, what);
        self.tell(true);
        let mut round = 0;
        loop {
            if let Some(response) = self.respond(number)? {
                return match response {
                    Response::Refused(error) => Err(error),
                    response => Ok(response),
                };
            }
            if self.wait.pause(round).is_some() {
                round += 1;
                continue;
            }
            let nothing = || !self.memory.responses(self.place).has_some();
            park(&self.entry().parker, || self.memory.fence_others(), nothing, RECHECK);
            round = 0;
        }
    }

    fn respond(&self, number: u64) -> Result<Option<Response>, Error> {
        let mut inbox = lock(&self.inbox);
        if self.is_over() {
            return Err(Error::Closed("the worker thread of this ref has ended".to_owned()));
        }
        let responses = self.memory.responses(self.place);
        while responses.has_some() {
            let broken = || Error::Closed("the driver's answer cannot be read".to_owned());
            let message = responses.pop().map_err(|_| broken())?;
            let message = message.ok_or_else(broken)?;
            let read = wire::decode::<Numbered<Response>>(&message).map_err(|_| broken())?;
            inbox.insert(read.number, read.what);
        }
        Ok(inbox.remove(&number))
    }

    fn unexpected<T>(response: &Response) -> Result<T, Error> {
        Err(Error::Closed(format!("the driver answered {response:?}")))
    }

    // ---- counts -----------------------------------------------------------------------------

    /// Tells the driver of objects that handles name and only a task, or another value, holds.
    pub(super) fn keep_all(&self) {
        // After each task; the exchange alone would cost as much as a short body.
        if !self.counting.load(Relaxed) || !self.counting.swap(false, Relaxed) {
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
            self.say(Request::Keep { ids: ids.to_vec() });
        }
    }

    // ---- what handles and bodies need -------------------------------------------------------

    /// Whether a call is bypassed is up to a condition.
    #[cold]
    fn submit_if(
        &self,
        request: Request,
        address: u64,
        data: Option<&Path>,
        cache: Option<&Place>,
    ) -> Result<Response, Error> {
        let Request::Submit { node, args, overrides, actor, .. } = request else {
            return Err(Error::Invalid("a condition for what is no call".to_owned()));
        };
        let tag = overrides.as_ref().and_then(|over| over.tag.as_deref());
        let cache = cache.map(Cache::of);
        let call = Dispatch { tag, data, cache, args: &args, flow: self };
        // SAFETY: the driver has this function from the configuration, and this process was forked
        // from it: the program's code lies at the same addresses.
        let condition = unsafe { std::mem::transmute::<usize, Condition>(address as usize) };
        let verdict = Some(condition(&call)?);
        self.request_checked(&Request::Submit { node, args, overrides, actor, verdict })
    }

    fn request_checked(&self, request: &Request) -> Result<Response, Error> {
        let encoded = wire::encode(request).map_err(Error::Invalid)?;
        let longest = self.memory.requests(self.place).longest() - 64;
        if encoded.len() > longest {
            return Err(Error::Invalid(format!(
                "a call from inside a task is {} bytes with its options and refs, more than {longest}; pass fewer refs, or a gathered one",
                encoded.len()
            )));
        }
        self.ask(request)
    }

    pub(super) fn about(&self, task: u64) -> Result<About, Error> {
        match self.request(Request::About { task })? {
            Response::About(about) => Ok(about),
            other => Self::unexpected(&other),
        }
    }

    fn values(&self, ids: &[u64], until: Option<Instant>) -> Result<Vec<Encoded>, Error> {
        let started = Instant::now();
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let values = match self.request(Request::Values { ids: ids.to_vec(), timeout })? {
            Response::Values(values) => values,
            Response::TimedOut => {
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

    /// A count that the driver has made already.
    fn counted(&self, id: u64) {
        let mut counts = lock(&self.counts);
        let count = counts.all.entry(id).or_default();
        count.handles += 1;
        if std::mem::replace(&mut count.known, true) {
            // Known before: the driver has one count for this process more than it needs.
            self.say(Request::Release { id });
        }
    }
}

impl Endpoint for DriverConnection {
    fn stamp(&self) -> usize {
        Arc::as_ptr(&self.memory) as usize
    }

    fn retain(&self, id: u64) -> bool {
        let mut counts = lock(&self.counts);
        let Counts { all, unknown } = &mut *counts;
        let count = all.entry(id).or_default();
        count.handles += 1;
        if count.handles == 1 {
            unknown.push(id);
            self.counting.store(true, Relaxed);
        }
        true
    }

    fn release(&self, id: u64) {
        let mut counts = lock(&self.counts);
        let Some(count) = counts.all.get_mut(&id) else { return };
        count.handles -= 1;
        if count.handles == 0 {
            let known = count.known;
            counts.all.remove(&id);
            if known {
                self.say(Request::Release { id });
            }
        }
    }

    fn take_block(&self, bytes: u64) -> Result<(u64, u64), Error> {
        let (id, address) = match self.request(Request::Block { bytes })? {
            Response::Block { id, address } => (id, address),
            other => return Self::unexpected(&other),
        };
        self.counted(id);
        Ok((id, address))
    }

    fn fill_block(&self, address: u64, bytes: u64, fill: Fill<'_>) -> Result<(), Error> {
        self.fill(address, bytes, fill)
    }

    /// Whether these bytes are values at all; whose they are only the driver knows.
    fn is_block(&self, _id: u64, address: u64, len: u64) -> bool {
        self.memory.holds(address, len)
    }

    fn wait_for(&self, id: u64, until: Option<Instant>) -> Result<(), Error> {
        let started = Instant::now();
        match self.wait_some(&[id], 1, until)?[..] {
            [true] => Ok(()),
            _ => Err(Error::Timeout("the value".to_owned(), started.elapsed())),
        }
    }

    fn encoded(&self, id: u64, until: Option<Instant>) -> Result<Encoded, Error> {
        let mut values = self.values(&[id], until)?;
        values.pop().ok_or_else(|| Error::Closed("an answer without a value".to_owned()))
    }

    fn encoded_each(
        &self,
        ids: &[u64],
        until: Option<Instant>,
        each: Each<'_>,
    ) -> Result<(), Error> {
        for ids in ids.chunks(VALUES_AT_ONCE) {
            for encoded in self.values(ids, until)? {
                // SAFETY: the caller's handles hold the objects.
                each(unsafe { encoded.bytes() })?;
            }
            // Refs inside, before the values that hold them may go.
            self.keep_all();
        }
        Ok(())
    }

    fn submit(
        &self,
        node: u32,
        args: &mut Args,
        _given: &mut Given,
        overrides: Option<&Overrides>,
        actor: Option<u64>,
    ) -> Result<Name, Error> {
        let overrides = overrides.map(|over| Box::new(over.clone()));
        let args = std::mem::take(args);
        let request = Request::Submit { node, args, overrides, actor, verdict: None };
        let mut response = self.request_checked(&request)?;
        if let Response::Condition { address, data, cache } = response {
            response = self.submit_if(request, address, data.as_deref(), cache.as_ref())?;
        }
        match response {
            Response::Task(name) => {
                self.counted(name.id);
                Ok(name)
            }
            other => Self::unexpected(&other),
        }
    }

    fn put(&self, args: &mut Args) -> Result<Name, Error> {
        self.submit(number_of(&SAME), args, &mut Given::default(), None, None)
    }

    fn spawn(
        &self,
        node: u32,
        args: &mut Args,
        overrides: &Overrides,
        max_restarts: Option<i32>,
    ) -> Result<u64, Error> {
        let (args, overrides) = (std::mem::take(args), Box::new(overrides.clone()));
        match self.request_checked(&Request::Spawn { node, args, overrides, max_restarts })? {
            Response::Actor(id) => Ok(id),
            other => Self::unexpected(&other),
        }
    }

    fn kill(&self, actor: u64) -> Result<(), Error> {
        self.request(Request::Kill { actor }).map(drop)
    }

    fn cancel(&self, target: &Target, cancel: Cancel) -> Result<Vec<CancelReport>, Error> {
        let request = |target| match self.request(Request::Cancel { target, cancel })? {
            Response::Reports(reports) => Ok(reports),
            other => Self::unexpected(&other),
        };
        let Target::Refs(ids) = target else { return request(target.clone()) };
        let parts = ids.chunks(AT_ONCE).map(|ids| request(Target::Refs(ids.to_vec())));
        parts.collect::<Result<Vec<_>, _>>().map(|reports| reports.concat())
    }

    fn note(&self, note: Note) {
        self.say(Request::Note(note));
    }

    fn pending(&self, id: u64) -> Result<Pending, Error> {
        match self.request(Request::Pending { id })? {
            Response::Pending(pending) => Ok(pending),
            other => Self::unexpected(&other),
        }
    }

    fn wait_some(
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
        match self.request_checked(&Request::Wait { ids: ids.to_vec(), need, timeout })? {
            Response::Settled(ready) => Ok(ready),
            other => Self::unexpected(&other),
        }
    }
}

impl ResultSink for DriverConnection {
    fn place_value(&self, bytes: u64, urgent: bool, fill: Fill<'_>) -> Result<u64, Error> {
        let room = |bytes| match self.request(Request::Room { bytes, urgent })? {
            Response::Room { address, len } => Ok((address, len)),
            other => Self::unexpected(&other),
        };
        if bytes >= OWN_PAGES {
            let (address, _) = room(bytes)?;
            self.fill(address, bytes, fill)?;
            return Ok(address);
        }
        let mut bump_area = lock(&self.bump_area);
        let used = bump_area.used.next_multiple_of(codec::ALIGN as u64);
        if used + bytes > bump_area.len {
            let (address, len) = room(bytes)?;
            let opened = Error::system("opening memory for values");
            if bump_area.len > 0 {
                let _ = self.memory.open(bump_area.address, bump_area.len, false);
            }
            self.memory.open(address, len, true).map_err(opened)?;
            *bump_area = BumpArea { address, len, used: 0 };
        } else {
            bump_area.used = used;
        }
        let address = bump_area.address + bump_area.used;
        bump_area.used += bytes;
        // SAFETY: our bump area, and the part behind all that was given away.
        if let Some(room) = unsafe { self.memory.room(address, bytes) } {
            fill(room);
        }
        Ok(address)
    }

    fn hold_children(&self, ids: Vec<u64>) {
        self.keep_all();
        self.say(Request::Children { ids });
    }
}
