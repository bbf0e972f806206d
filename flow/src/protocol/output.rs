//! What workers print, where a flow is to put names in front of it or to keep the last lines.
//!
//! ```text
//! worker                                       driver
//!   makes two pipes for 1 and 2, sends ─────▶  one socket for all workers
//!   their reading ends
//!   mark (task, name) | text | mark | text ──▶ a thread of its own reads, and writes to 1 and 2
//! ```
//!
//! The thread does nothing else, so a driver that is busy holds no worker up; one whose own output
//! is stuck does, as it would any program. Whoever needs the last lines of a task, since it has
//! failed, reads what is there first: a body prints before it completes.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use mailring_process::descriptors::{self, Descriptor, above_standard};
use mailring_process::output;
use mailring_process::process;
use mailring_process::wait::RECHECK;
use mailring_process::wakeup::{notify, wait};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Bytes that tell a mark from text: nobody guesses them.
const NONCE: usize = 16;
/// Bytes of a mark, at most; it is written by one call.
const MARK: usize = 512;
/// Bytes of one line that are kept, and after which it is passed on though it has no end.
const LINE: usize = 4 << 10;
const ENDLESS: usize = 64 << 10;
/// Tasks of a process whose lines are kept: as many as can stand there, since one that has failed is
/// looked at after others have begun.
const TASKS: usize = 64;

/// What was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) prefix: bool,
    /// Lines for errors.
    pub(crate) lines: usize,
}

impl Wanted {
    pub(crate) fn any(self) -> bool {
        self.prefix || self.lines > 0
    }
}

// ---- the worker's side ----------------------------------------------------------------------------

/// Where workers announce their pipes; made before the fork.
#[derive(Clone)]
pub(crate) struct OutputSender {
    socket: Arc<OwnedFd>,
    nonce: [u8; NONCE],
}

/// A worker's own writing ends: bodies may put others at 1 and 2.
pub(crate) struct OutputPipes {
    ends: [OwnedFd; 2],
    nonce: [u8; NONCE],
}

impl OutputSender {
    pub(crate) fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// In a worker: from here on what it prints goes through pipes.
    pub(crate) fn open(&self, place: u16) -> io::Result<OutputPipes> {
        let (out, to_out) = descriptors::pipe()?;
        let (err, to_err) = descriptors::pipe()?;
        let fds = [out.as_raw_fd(), err.as_raw_fd()];
        process::send(&*self.socket, &place.to_ne_bytes(), &fds)?;
        for (standard, end) in (1..).zip([&to_out, &to_err]) {
            // SAFETY: passes no pointers; nobody in this new process uses the two yet.
            unsafe { libc::dup2(end.as_raw_fd(), standard) };
        }
        output::by_lines();
        Ok(OutputPipes { ends: [to_out, to_err], nonce: self.nonce })
    }
}

impl OutputPipes {
    /// A body begins: what is printed from here on is of its task.
    pub(crate) fn begin(&self, (task, attempt): (u64, u32), name: &str, worker: &str) {
        let cut = |text: &str| text.chars().take(60).collect::<String>().replace(['\n', '\0'], " ");
        let (name, worker) = (cut(name), cut(worker));
        let text = format!("{task}\0{attempt}\0{name}\0{worker}");
        let mut mark = self.nonce.to_vec();
        mark.extend((text.len() as u16).to_ne_bytes());
        mark.extend(text.as_bytes());
        debug_assert!(mark.len() <= MARK);
        for end in &self.ends {
            let _ = nix::unistd::write(end, &mark);
        }
    }
}

// ---- the driver's side ----------------------------------------------------------------------------

/// Receives the output of all workers.
pub(crate) struct OutputReceiver {
    wanted: Wanted,
    nonce: [u8; NONCE],
    socket: Descriptor,
    /// Tells the thread that there is something besides text.
    event: Descriptor,
    stopping: AtomicBool,
    sources: Mutex<Sources>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Sources {
    /// By process number of ours.
    now: HashMap<u16, Source>,
    /// Pipes of processes that are gone, which somebody still has.
    before: Vec<Source>,
    /// For the program's 1 and 2, in order.
    out: VecDeque<(RawFd, Vec<u8>)>,
}

/// One process.
struct Source {
    pipes: [Option<Descriptor>; 2],
    streams: [Stream; 2],
    /// The last lines of each task, the newest task last.
    tasks: VecDeque<Lines>,
}

struct Lines {
    /// Task and attempt.
    of: (u64, u64),
    last: VecDeque<String>,
}

/// One of its pipes.
#[derive(Default)]
struct Stream {
    /// Read, and not yet taken apart.
    raw: Vec<u8>,
    /// A line that has no end yet.
    line: Vec<u8>,
    of: (u64, u64),
    prefix: String,
}

/// Both sides, before the fork.
pub(crate) fn new(wanted: Wanted) -> io::Result<(Arc<OutputReceiver>, OutputSender)> {
    let (ours, theirs) = descriptors::socket_pair()?;
    let mut nonce = [0; NONCE];
    // SAFETY: fills a live local. Where the system has no such call, the nonce is zeros, which
    // text does not have either.
    unsafe { libc::getrandom(nonce.as_mut_ptr().cast(), NONCE, libc::GRND_NONBLOCK) };
    let receiver = OutputReceiver {
        wanted,
        nonce,
        socket: ours.into(),
        event: descriptors::event()?,
        stopping: AtomicBool::new(false),
        sources: Mutex::default(),
        thread: Mutex::default(),
    };
    Ok((Arc::new(receiver), OutputSender { socket: Arc::new(theirs), nonce }))
}

impl OutputReceiver {
    /// After the fork: begins to listen.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<()> {
        let receiver = Arc::clone(self);
        let thread = std::thread::Builder::new().name("mailring-output".to_owned());
        let thread = thread.spawn(move || receiver.listen())?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// When all workers have ended: passes on what they have left.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, SeqCst);
        notify(&self.event);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last lines of a task that this process has run.
    pub(crate) fn last_lines(&self, place: u16, task: u64) -> Vec<String> {
        if self.wanted.lines == 0 {
            return Vec::new();
        }
        let mut sources = self.sources();
        self.welcome(&mut sources);
        let Sources { now, out, .. } = &mut *sources;
        let Some(source) = now.get_mut(&place) else { return Vec::new() };
        source.read_output(self, out);
        // The last attempt of it.
        let found = source.tasks.iter().rev().find(|lines| lines.of.0 == task);
        let Some(Lines { of, last }) = found else { return Vec::new() };
        let mut lines: Vec<String> = last.iter().cloned().collect();
        for stream in source.streams.iter().filter(|s| s.of == *of && !s.line.is_empty()) {
            lines.push(text_of(&stream.line)); // it will never have an end
        }
        let from = lines.len().saturating_sub(self.wanted.lines);
        drop(sources);
        notify(&self.event); // what was read is to be passed on, and there may be new pipes
        lines.split_off(from)
    }

    /// New processes.
    fn welcome(&self, sources: &mut Sources) {
        loop {
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::ZERO) != Ok(1) {
                return;
            }
            let mut place = [0; 2];
            let Ok(received) = process::receive(self.socket.as_fd(), &mut place) else { return };
            if received.bytes != 2 {
                return;
            }
            let mut fds = received.fds.into_iter().map(|fd| {
                let _ = nix::fcntl::fcntl(
                    &fd,
                    nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
                );
                above_standard(fd).ok().map(Descriptor::from)
            });
            let pipes = [fds.next().flatten(), fds.next().flatten()];
            let source = Source { pipes, streams: Default::default(), tasks: VecDeque::new() };
            let before = sources.now.insert(u16::from_ne_bytes(place), source);
            sources.before.extend(before.filter(Source::is_open));
        }
    }

    fn listen(&self) {
        loop {
            let last = self.stopping.load(SeqCst);
            let mut sources = self.sources();
            self.welcome(&mut sources);
            let Sources { now, before, out } = &mut *sources;
            now.values_mut()
                .chain(before.iter_mut())
                .for_each(|source| source.read_output(self, out));
            before.retain(Source::is_open);
            if last {
                now.values_mut().chain(before).for_each(|source| source.end(self, out));
            }
            let ready = std::mem::take(out);
            // Copies of the numbers: only this thread closes them, in `read_output`; others may
            // too, when a task has failed, and then the poll says so at once.
            let watched: Vec<RawFd> = sources
                .now
                .values()
                .chain(&sources.before)
                .flat_map(|source| source.pipes.iter().flatten())
                .map(|pipe| pipe.as_fd().as_raw_fd())
                .collect();
            drop(sources);
            let wrote = !ready.is_empty();
            ready.iter().for_each(|(fd, bytes)| write_all(*fd, bytes));
            if last {
                return;
            }
            if wrote {
                continue; // there may be more by now
            }
            let mut fds = vec![
                PollFd::new(self.event.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            ];
            // SAFETY: see above; a number that is another's by now only ends the sleep early.
            let borrowed =
                watched.iter().map(|&fd| unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) });
            fds.extend(borrowed.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            wait(&mut fds, RECHECK);
        }
    }
}

impl Source {
    fn is_open(&self) -> bool {
        self.pipes.iter().any(Option::is_some)
    }

    /// Reads what there is.
    fn read_output(&mut self, receiver: &OutputReceiver, out: &mut VecDeque<(RawFd, Vec<u8>)>) {
        let mut buffer = [0; 16 << 10];
        for which in 0..2 {
            while let Some(pipe) = &self.pipes[which] {
                match nix::unistd::read(pipe.as_fd(), &mut buffer) {
                    Ok(0) => {
                        self.pipes[which] = None;
                        self.take_apart(which, receiver, out, true);
                    }
                    Ok(count) => {
                        self.streams[which].raw.extend_from_slice(&buffer[..count]);
                        self.take_apart(which, receiver, out, false);
                    }
                    Err(nix::Error::EINTR) => {}
                    Err(nix::Error::EAGAIN) => break,
                    Err(_) => self.pipes[which] = None,
                }
            }
        }
    }

    /// Nothing more comes.
    fn end(&mut self, receiver: &OutputReceiver, out: &mut VecDeque<(RawFd, Vec<u8>)>) {
        (0..2).for_each(|which| self.take_apart(which, receiver, out, true));
    }

    /// Text and marks, as far as they are whole.
    fn take_apart(
        &mut self,
        which: usize,
        receiver: &OutputReceiver,
        out: &mut VecDeque<(RawFd, Vec<u8>)>,
        all: bool,
    ) {
        let mut raw = std::mem::take(&mut self.streams[which].raw);
        let mut from = 0;
        loop {
            let rest = &raw[from..];
            let Some(at) = find(rest, &receiver.nonce) else {
                // The end of it may be the beginning of a mark.
                let kept = if all { 0 } else { beginning(rest, &receiver.nonce) };
                let text = rest.len() - kept;
                self.text(which, receiver, &raw[from..from + text], out);
                from += text;
                break;
            };
            let head = at + NONCE;
            let len = rest.get(head..head + 2).map(|len| u16::from_ne_bytes([len[0], len[1]]));
            let len = len.map(usize::from).filter(|&len| len <= MARK);
            let Some(mark) = len.and_then(|len| rest.get(head + 2..head + 2 + len)) else {
                if rest.len() - at < NONCE + 2 + MARK && !all {
                    self.text(which, receiver, &raw[from..from + at], out);
                    from += at;
                } else {
                    from = raw.len(); // a copy of a mark that is none: a body reads its own memory
                }
                break;
            };
            let end = head + 2 + mark.len();
            let mark = String::from_utf8_lossy(mark).into_owned();
            self.text(which, receiver, &raw[from..from + at], out);
            self.mark(which, receiver, &mark, out);
            from += end;
        }
        raw.drain(..from);
        self.streams[which].raw = raw;
        if all {
            self.end_line(which, receiver, out);
        }
    }

    fn text(
        &mut self,
        which: usize,
        receiver: &OutputReceiver,
        text: &[u8],
        out: &mut VecDeque<(RawFd, Vec<u8>)>,
    ) {
        if text.is_empty() {
            return;
        }
        if !receiver.wanted.prefix {
            out.push_back((which as RawFd + 1, text.to_vec()));
        }
        for piece in text.split_inclusive(|&byte| byte == b'\n') {
            let stream = &mut self.streams[which];
            stream.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || stream.line.len() >= ENDLESS {
                self.end_line(which, receiver, out);
            }
        }
    }

    /// The line so far is one.
    fn end_line(
        &mut self,
        which: usize,
        receiver: &OutputReceiver,
        out: &mut VecDeque<(RawFd, Vec<u8>)>,
    ) {
        let stream = &mut self.streams[which];
        let mut line = std::mem::take(&mut stream.line);
        if line.is_empty() {
            return;
        }
        if receiver.wanted.lines > 0
            && let Some(lines) = self.tasks.iter_mut().find(|lines| lines.of == stream.of)
        {
            lines.last.push_back(text_of(&line));
            if lines.last.len() > receiver.wanted.lines {
                lines.last.pop_front();
            }
        }
        if receiver.wanted.prefix {
            let mut whole = stream.prefix.clone().into_bytes();
            whole.append(&mut line);
            if !whole.ends_with(b"\n") {
                whole.push(b'\n');
            }
            out.push_back((which as RawFd + 1, whole));
        }
    }

    /// Another task begins.
    fn mark(
        &mut self,
        which: usize,
        receiver: &OutputReceiver,
        mark: &str,
        out: &mut VecDeque<(RawFd, Vec<u8>)>,
    ) {
        self.end_line(which, receiver, out);
        let mut parts = mark.split('\0');
        let mut number = || parts.next()?.parse().ok();
        let (Some(task), Some(attempt)) = (number(), number()) else { return };
        let (Some(name), Some(worker)) = (parts.next(), parts.next()) else { return };
        let of = (task, attempt);
        let stream = &mut self.streams[which];
        stream.of = of;
        stream.prefix = format!("[{name} {task} {worker}] ");
        // Whichever of both pipes is read first makes its place.
        if !self.tasks.iter().any(|lines| lines.of == of) {
            self.tasks.push_back(Lines { of, last: VecDeque::new() });
        }
        if self.tasks.len() > TASKS {
            self.tasks.pop_front();
        }
    }
}

/// A line as an error shows it.
fn text_of(line: &[u8]) -> String {
    let end = line.len().min(LINE);
    let text = String::from_utf8_lossy(&line[..end]);
    let text = text.trim_end_matches(['\n', '\r']);
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

fn find(text: &[u8], nonce: &[u8]) -> Option<usize> {
    text.windows(nonce.len()).position(|window| window == nonce)
}

/// How many of the last bytes may be the beginning of a mark.
fn beginning(text: &[u8], nonce: &[u8]) -> usize {
    let most = text.len().min(nonce.len() - 1);
    (1..=most).rev().find(|&count| text.ends_with(&nonce[..count])).unwrap_or(0)
}

/// To one of the program's own streams, which may be one that does not wait.
fn write_all(fd: RawFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the bytes are a live slice's.
        let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        if written > 0 {
            bytes = &bytes[written as usize..];
            continue;
        }
        match nix::errno::Errno::last() {
            nix::errno::Errno::EINTR => {}
            nix::errno::Errno::EAGAIN => {
                let mut one = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
                // SAFETY: one live local.
                unsafe { libc::poll(&raw mut one, 1, 1000) };
            }
            _ => return, // closed, or nobody reads: as a print of the program's own
        }
    }
}
