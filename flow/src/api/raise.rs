//! How an error of a node becomes one that travels. What it can do is found out where the node
//! stands, since its type is known there: the attribute calls two methods of a [`Tag`], with more
//! references than needed, and the trait that takes the most of them and applies is the one.
//!
//! ```text
//! (&&&tag).mailring_text()     &&Tag  AsError     E: Error                    message and causes
//!                               &Tag  AsDeref     E: Deref<Target: Error>     the same: Box<dyn Error>, anyhow::Error
//!                                Tag  AsDisplay   E: Display                  message only: String, &str
//! (&&tag).mailring_payload()    &Tag  Typed       E: Serialize                the error itself, encoded
//!                                Tag  Untyped     any other                   none
//! ```

use std::error::Error;
use std::fmt::Display;
use std::ops::Deref;

use serde::Serialize;

use crate::protocol::codec::encode_unchecked;
use crate::protocol::error::{Raised, TaskError};

/// More causes than this are no chain but a circle.
const MAX_CHAIN: usize = 64;

/// An error that is to travel.
#[derive(Debug)]
pub struct Tag<'e, E>(pub &'e E);

/// What there is to read about an error.
#[derive(Debug)]
pub struct Text {
    message: String,
    chain: Vec<String>,
    /// The error of a task that is among the causes.
    task: Option<TaskError>,
}

impl Text {
    /// Of an error, with its causes.
    fn of<E: Error + ?Sized>(error: &E) -> Self {
        let causes = std::iter::successors(error.source(), |&cause| cause.source());
        let causes: Vec<_> = causes.take(MAX_CHAIN).collect();
        let task = causes.iter().find_map(|cause| match cause.downcast_ref::<crate::Error>() {
            Some(crate::Error::Task(task)) => Some((**task).clone()),
            _ => cause.downcast_ref::<TaskError>().cloned(),
        });
        let chain = causes.iter().map(ToString::to_string).collect();
        Self { message: error.to_string(), chain, task }
    }
}

impl<E> Tag<'_, E> {
    /// Puts together what the two methods have returned.
    pub fn raised(&self, text: Text, payload: Option<Vec<u8>>) -> Raised {
        Raised::app(std::any::type_name::<E>(), text.message, text.chain, payload, text.task)
    }
}

/// An error with causes.
pub trait AsError {
    /// Message and causes.
    fn mailring_text(&self) -> Text;
}

impl<E: Error> AsError for &&Tag<'_, E> {
    fn mailring_text(&self) -> Text {
        Text::of(self.0)
    }
}

/// Something that is not an error, but has one inside.
pub trait AsDeref {
    /// Message and causes of that inside.
    fn mailring_text(&self) -> Text;
}

impl<E: Deref<Target: Error>> AsDeref for &Tag<'_, E> {
    fn mailring_text(&self) -> Text {
        Text::of(&**self.0)
    }
}

/// Anything else, as long as it can be shown. The bound stands at the method, so that it is a plain
/// error of the compiler when it does not hold.
pub trait AsDisplay<E> {
    /// A message; with `#`, which says more for reports that hide their causes.
    fn mailring_text(&self) -> Text
    where
        E: Display;
}

impl<E> AsDisplay<E> for Tag<'_, E> {
    fn mailring_text(&self) -> Text
    where
        E: Display,
    {
        Text { message: format!("{:#}", self.0), chain: Vec::new(), task: None }
    }
}

/// An error that can be encoded.
pub trait Typed {
    /// The error, encoded; none when that fails.
    fn mailring_payload(&self) -> Option<Vec<u8>>;
}

impl<E: Serialize> Typed for &Tag<'_, E> {
    fn mailring_payload(&self) -> Option<Vec<u8>> {
        encode_unchecked(self.0).ok()
    }
}

/// An error that can only be told about.
pub trait Untyped {
    /// None.
    fn mailring_payload(&self) -> Option<Vec<u8>>;
}

impl<E> Untyped for Tag<'_, E> {
    fn mailring_payload(&self) -> Option<Vec<u8>> {
        None
    }
}
