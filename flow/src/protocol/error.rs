//! What can go wrong in a flow: at a call, or in a task.

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::codec;

/// What a call to a flow, or a `get`, can answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The task failed, was cancelled, or did not run since one before it failed.
    #[error(transparent)]
    Task(Box<TaskError>),
    /// The value is not there yet; the task goes on.
    #[error("{0} is not complete after {1:?}; it goes on: wait longer, or cancel it")]
    Timeout(String, Duration),
    /// The flow has been dropped, or has failed.
    #[error("the flow is closed: {0}")]
    Closed(String),
    /// No node has this name.
    #[error("`{0}` is not a node: no function with that name has #[node] in this program")]
    NotANode(String),
    /// No worker could ever run it.
    #[error(
        "`{node}` can never run: it needs {needs}, and {why}; ask for less, build the flow with a worker that has it, or set wait_infeasible"
    )]
    Infeasible {
        /// What was called.
        node: String,
        /// The resources it asks for.
        needs: String,
        /// What is missing.
        why: String,
    },
    /// An invalid quantity, or an invalid name of a label.
    #[error("{0}")]
    Quantity(String),
    /// An invalid option, or an invalid parameter of a call to the flow.
    #[error("{0}")]
    Invalid(String),
    /// The bytes given for an argument are not one.
    #[error("argument {index} (`{name}`) of `{node}` cannot be decoded: {why}")]
    BadArgument {
        /// The node.
        node: String,
        /// Which argument, from 0.
        index: usize,
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A value cannot be encoded.
    #[error("{what} cannot be encoded: {why}")]
    Encode {
        /// Which value.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// A value is not of the type that is asked for.
    #[error("{what} cannot be decoded as the type that is asked for: {why}")]
    Decode {
        /// Which value.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// There is no memory for a value, and waiting would not help.
    #[error("no room for a value of {bytes} bytes: {why}")]
    Memory {
        /// Bytes asked for.
        bytes: u64,
        /// What holds the memory, and what to do.
        why: String,
    },
    /// A configuration is not one.
    #[error("{file}:{line}:{column}: {why}")]
    Config {
        /// Its file, or `configuration` for a text.
        file: String,
        /// Where it is wrong: the line, from 1.
        line: usize,
        /// And the column, from 1.
        column: usize,
        /// What is wrong, and what was expected.
        why: String,
    },
    /// Waiting would never end.
    #[error("waiting would never end: {0}")]
    Deadlock(String),
    /// The system refused something.
    #[error("{what}: {why}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        why: String,
    },
}

impl Error {
    /// The failed task behind it, if it is one.
    pub fn task(&self) -> Option<&TaskError> {
        match self {
            Self::Task(task) => Some(task),
            _ => None,
        }
    }

    /// Whether the task was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.task().is_some_and(|task| matches!(task.cause, Cause::Cancelled))
    }

    pub(crate) fn system(what: &str) -> impl Fn(std::io::Error) -> Self {
        move |error| {
            let why = format!("{error}{}", mailring_process::limits::hint(&error));
            Self::System { what: what.to_owned(), why }
        }
    }
}

impl From<TaskError> for Error {
    fn from(task: TaskError) -> Self {
        Self::Task(Box::new(task))
    }
}

/// Why a task has no value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TaskError {
    /// The number of the task that failed.
    pub task: u64,
    /// What it ran, or the name its caller gave it.
    pub name: String,
    /// The worker it ran on, if it began.
    pub worker: Option<String>,
    /// Which attempt it was, from 1; 0 when it never began.
    pub attempt: u32,
    /// What happened.
    pub cause: Cause,
    /// When the value of another task was asked for, which did not run because of this one: that
    /// task's number and name.
    pub below: Option<(u64, String)>,
    /// Where the body was when it panicked, if `RUST_BACKTRACE` was set when the flow was built.
    pub backtrace: Option<String>,
    /// The last lines that the body, and what it had started, printed in this attempt, if the flow
    /// was built with [`capture_output`](crate::Builder::capture_output).
    pub output: Vec<String>,
}

/// What stands behind the sentence of an error.
const BACKTRACE: &str = "\nstack backtrace:\n";
const OUTPUT: &str = "\nits last output:";

/// The sentence alone: an error of an error does not repeat what its root shows.
fn sentence(text: &str) -> &str {
    let ends = [BACKTRACE, OUTPUT].into_iter().filter_map(|mark| text.find(mark));
    &text[..ends.min().unwrap_or(text.len())]
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((task, name)) = &self.below {
            write!(f, "`{name}` (task {task}) did not run, since ")?;
        }
        write!(f, "`{}` (task {})", self.name, self.task)?;
        match (&self.worker, self.attempt) {
            (Some(worker), 1) => write!(f, " on {worker}")?,
            (Some(worker), attempt) => write!(f, " on {worker}, attempt {attempt},")?,
            (None, _) => {}
        }
        write!(f, " {}", self.cause)?;
        if let Some(backtrace) = &self.backtrace {
            write!(f, "{BACKTRACE}{backtrace}")?;
        }
        if !self.output.is_empty() {
            write!(f, "{OUTPUT}")?;
            self.output.iter().try_for_each(|line| write!(f, "\n  {line}"))?;
        }
        Ok(())
    }
}

impl std::error::Error for TaskError {}

/// Bytes of a text of an error that travels to a body, at most.
const LONG: usize = 4000;
/// The same for names and causes, and for what the first of all errors says.
const SHORT: usize = 500;
const ROOT: usize = 8000;
/// Bytes of the errors inside of an error, as far as those are kept.
const INNER: usize = 8000;
/// Bytes of what stands behind a text that was cut, at most.
const MARK: usize = " [18446744073709551615 bytes more]".len();
/// Tasks between an error and the first one that are named.
const NAMED: u32 = 3;

/// The beginning of a long text.
pub(crate) fn cut(text: &str) -> String {
    cut_to(text, LONG)
}

fn cut_to(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    // The mark counts, so that a text that was cut is not cut again on its way up.
    let end = most.saturating_sub(MARK);
    let end = (0..=end).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    format!("{} [{} bytes more]", &text[..end], text.len() - end)
}

impl TaskError {
    /// The same with texts cut, so that it fits a message.
    pub(crate) fn shortened(self) -> Self {
        let is_first = self.depth() == 0;
        self.shortened_to(if is_first { ROOT } else { LONG })
    }

    fn shortened_to(self, most: usize) -> Self {
        let below = self.below.map(|(task, name)| (task, cut_to(&name, SHORT)));
        let name = cut_to(&self.name, SHORT);
        let backtrace = self.backtrace.as_deref().map(|text| cut_to(text, most));
        let output = self.output.iter().rev().take(5).rev();
        let output = output.map(|line| cut_to(line, SHORT)).collect();
        Self { cause: self.cause.shortened(most), name, below, backtrace, output, ..self }
    }

    /// Which task it is and where it ran, without what happened.
    fn head(&self) -> String {
        let worker =
            self.worker.as_ref().map_or_else(String::new, |worker| format!(" on {worker}"));
        format!("`{}` (task {}){worker} failed", self.name, self.task)
    }

    /// How many tasks failed because of the first one, this one among them.
    fn depth(&self) -> u32 {
        match &self.cause {
            Cause::App(error) => error.root.as_ref().map_or(0, |root| root.depth),
            _ => 0,
        }
    }
}

impl Cause {
    fn shortened(self, most: usize) -> Self {
        let cut = |text: String| cut_to(&text, most);
        match self {
            Self::App(error) => Self::App(AppError {
                message: cut(error.message),
                chain: error.chain.iter().take(3).map(|text| cut_to(text, SHORT)).collect(),
                payload: Payload(error.payload.0.filter(|bytes| bytes.0.len() <= most / 4)),
                root: error
                    .root
                    .map(|root| Box::new(Root { first: root.first.shortened_to(ROOT), ..*root })),
                ..error
            }),
            Self::Panicked { message, at } => Self::Panicked { message: cut(message), at },
            Self::Setup(cause) => Self::Setup(Box::new(cause.shortened(most))),
            Self::WorkerCrashed(why) => Self::WorkerCrashed(cut(why)),
            Self::OutOfMemory(why) => Self::OutOfMemory(cut(why)),
            Self::ObjectLost(why) => Self::ObjectLost(cut(why)),
            Self::ActorDied(why) => Self::ActorDied(cut(why)),
            Self::Codec(why) => Self::Codec(cut(why)),
            Self::Deadlock(why) => Self::Deadlock(cut(why)),
            Self::Infeasible(why) => Self::Infeasible(cut(why)),
            Self::Cancelled | Self::Deadline(_) => self,
        }
    }
}

impl TaskError {
    /// Where it began: a body that got the error of a task it had called, and returned it (as
    /// [`Error`], or as an error that has that among its sources), failed because of that.
    pub fn root(&self) -> Self {
        match &self.cause {
            Cause::App(AppError { root: Some(root), .. }) => root.first.clone(),
            _ => self.clone(),
        }
    }
}

/// What happened to a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// Its function returned an error.
    App(AppError),
    /// Its function panicked.
    Panicked {
        /// What the panic said.
        message: String,
        /// Where: `file:line:column`.
        at: String,
    },
    /// Its worker died, and no attempt is left.
    WorkerCrashed(String),
    /// It was cancelled.
    Cancelled,
    /// It ran longer than its deadline.
    Deadline(Duration),
    /// There was no memory for its value.
    OutOfMemory(String),
    /// Its value existed, and does not any more.
    ObjectLost(String),
    /// The actor is gone.
    ActorDied(String),
    /// Its setup hook failed; function and cleanup did not run.
    Setup(Box<Cause>),
    /// An argument could not be decoded, or the value could not be encoded.
    Codec(String),
    /// It waited for what waits for it.
    Deadlock(String),
    /// No worker can run it any more.
    Infeasible(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(error) => write!(f, "failed: {error}"),
            Self::Panicked { message, at } => write!(f, "panicked at {at}: {message}"),
            Self::WorkerCrashed(how) => write!(f, "lost its worker: {how}"),
            Self::Cancelled => f.write_str("was cancelled"),
            Self::Deadline(limit) => write!(f, "ran longer than its deadline of {limit:?}"),
            Self::OutOfMemory(why) => write!(f, "has no room for its value: {why}"),
            Self::ObjectLost(why) => write!(f, "has lost its value: {why}"),
            Self::ActorDied(why) => write!(f, "was for an actor that is gone: {why}"),
            Self::Setup(cause) => write!(f, "did not run, since its setup hook {cause}"),
            Self::Codec(why) => f.write_str(why),
            Self::Deadlock(why) => write!(f, "waited for ever: {why}"),
            Self::Infeasible(why) => write!(f, "cannot run any more: {why}"),
        }
    }
}

/// An error that a function returned, as far as it can cross processes: its type by name, what it
/// said, what caused it, where it came from, and the error itself if it can be serialised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AppError {
    /// The type, as Rust names it.
    pub type_name: String,
    /// What the error says.
    pub message: String,
    /// What its sources say, outermost first.
    pub chain: Vec<String>,
    /// The node that returned it: `file:line`.
    pub at: String,
    payload: Payload,
    /// If it is the error of a task that its function had called.
    root: Option<Box<Root>>,
}

/// Where a row of errors began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Root {
    /// The first of them, whole.
    first: TaskError,
    /// How many tasks failed because of that, this one among them.
    depth: u32,
}

/// The error itself, encoded.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
struct Payload(Option<Bytes>);

/// Bytes in one piece: an error in an error in an error does not grow with each of them.
#[derive(Clone, PartialEq, Default)]
struct Bytes(Box<[u8]>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.into()))
            }
        }

        deserializer.deserialize_bytes(Visitor)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(bytes) => write!(f, "{} bytes", bytes.0.len()),
            None => f.write_str("none"),
        }
    }
}

impl AppError {
    /// It is the error of a task that the function had called. However deep the calls are, the
    /// first error is kept whole, and what lies between is as long as a few of them.
    fn pass_on(&mut self, mut inner: TaskError) {
        let root = Root { first: inner.root(), depth: inner.depth() + 1 };
        if root.depth > NAMED {
            let (between, first) = (root.depth - 2, &root.first);
            self.message =
                format!("{}, as did {between} tasks below it, since {first}", inner.head());
        }
        if self.payload.0.as_ref().is_some_and(|bytes| bytes.0.len() > INNER)
            && let Cause::App(app) = &mut inner.cause
            && app.root.is_some()
        {
            app.payload = Payload(None);
            let encoded = codec::encode_unchecked(&Error::Task(Box::new(inner))).ok();
            self.payload = Payload(encoded.map(|bytes| Bytes(bytes.into())));
        }
        self.root = Some(Box::new(root));
    }

    /// Whether it is an `E`.
    pub fn is<E>(&self) -> bool {
        self.type_name == std::any::type_name::<E>()
    }

    /// The error itself, if it is an `E` that was serialised on its way.
    pub fn downcast<E: DeserializeOwned>(&self) -> Option<E> {
        let payload = self.payload.0.as_ref().filter(|_| self.is::<E>())?;
        codec::decode(&payload.0).ok()
    }
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.chain {
            write!(f, ": {cause}")?;
        }
        if self.is::<Error>() {
            return Ok(()); // it has said already of which node it is
        }
        write!(f, " ({}, from {})", self.type_name, self.at)
    }
}

/// What a body hands back instead of a value.
#[derive(Debug)]
pub struct Raised(pub(crate) Cause);

impl Raised {
    /// An error of the function. `task` is the error of a task that is among its sources.
    pub(crate) fn app(
        type_name: &'static str,
        message: String,
        chain: Vec<String>,
        payload: Option<Vec<u8>>,
        task: Option<TaskError>,
    ) -> Self {
        let of_task = type_name == std::any::type_name::<Error>();
        let message = if of_task { sentence(&message).to_owned() } else { message };
        let type_name = type_name.to_owned();
        let payload = Payload(payload.map(|bytes| Bytes(bytes.into())));
        let mut error =
            AppError { type_name, message, chain, at: String::new(), payload, root: None };
        if let Some(Error::Task(inner)) = error.downcast::<Error>() {
            error.pass_on(*inner);
        } else if let Some(task) = task {
            let root = Root { first: task.root(), depth: task.depth() + 1 };
            error.root = Some(Box::new(root));
        }
        Self(Cause::App(error))
    }

    /// The same, from the node at this place.
    pub(crate) fn at_node(mut self, file: &str, line: u32) -> Self {
        if let Cause::App(error) = &mut self.0 {
            error.at = format!("{file}:{line}");
        }
        self
    }
}

/// An argument that cannot be decoded.
#[derive(Debug)]
pub struct BadArgument {
    pub(crate) index: usize,
    pub(crate) why: String,
}
