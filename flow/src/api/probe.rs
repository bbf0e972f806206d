//! What an expansion of `#[node]` does with its types. Each of them has to travel, and that is
//! asserted once, where the type stands ([`travels`], [`lends`]); whatever else an expansion does
//! with it also compiles for a type that does not, so that there is one error and not one for each
//! use.
//!
//! ```text
//! (&&probe).take(..)    &Probe<T>  Travels  T: Value
//!                        Probe<T>  Stays    any other: never runs
//! ```

use std::marker::PhantomData;

use crate::api::reference::ObjectRef;
use crate::protocol::arg_writer::RawArgs;
use crate::protocol::call_context::CallContext;
use crate::protocol::codec::{Lend, Value};
use crate::protocol::error::{BadArgument, Cause, Error, Raised};

/// Asserts that a type travels.
pub const fn travels<T: Value>() {}

/// Asserts that a node can take a reference to a type.
pub const fn lends<T: Lend + ?Sized>() {}

/// A type.
#[derive(Debug)]
pub struct Probe<T: ?Sized>(PhantomData<fn(&T)>);

impl<T: ?Sized> Probe<T> {
    /// It.
    #[allow(clippy::new_without_default, reason = "nobody makes one but expansions")]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

/// A type that travels.
#[allow(missing_docs, reason = "each does what its name says")]
pub trait Travels<T> {
    fn take(&self, call_context: &CallContext<'_>, index: usize) -> Result<T, Raised>;
    fn check(&self, args: &RawArgs<'_>, index: usize) -> Result<(), BadArgument>;
    fn complete(&self, call_context: &mut CallContext<'_>, value: &T) -> Result<(), Raised>;
    fn read_data(&self, call_context: &mut CallContext<'_>, bytes: &[u8]) -> Result<(), Raised>;
    fn get(&self, reference: ObjectRef<T>) -> Result<T, Error>;
}

impl<T: Value> Travels<T> for &Probe<T> {
    #[inline]
    fn take(&self, call_context: &CallContext<'_>, index: usize) -> Result<T, Raised> {
        call_context.arg(index)
    }

    fn check(&self, args: &RawArgs<'_>, index: usize) -> Result<(), BadArgument> {
        args.check::<T>(index)
    }

    #[inline]
    fn complete(&self, call_context: &mut CallContext<'_>, value: &T) -> Result<(), Raised> {
        call_context.complete(value)
    }

    fn read_data(&self, call_context: &mut CallContext<'_>, bytes: &[u8]) -> Result<(), Raised> {
        call_context.complete_data::<T>(bytes)
    }

    #[inline]
    fn get(&self, reference: ObjectRef<T>) -> Result<T, Error> {
        reference.get()
    }
}

/// A type that does not.
#[allow(missing_docs, reason = "as above")]
pub trait Stays<T> {
    fn take(&self, _call_context: &CallContext<'_>, _index: usize) -> Result<T, Raised> {
        Err(Raised(Cause::Codec("its type does not travel".to_owned())))
    }

    fn check(&self, _args: &RawArgs<'_>, index: usize) -> Result<(), BadArgument> {
        Err(BadArgument { index, why: "its type does not travel".to_owned() })
    }

    fn complete(&self, _call_context: &mut CallContext<'_>, _value: &T) -> Result<(), Raised> {
        Err(Raised(Cause::Codec("its type does not travel".to_owned())))
    }

    fn read_data(&self, _call_context: &mut CallContext<'_>, _bytes: &[u8]) -> Result<(), Raised> {
        Err(Raised(Cause::Codec("its type does not travel".to_owned())))
    }

    fn get(&self, _reference: ObjectRef<T>) -> Result<T, Error> {
        Err(Error::Invalid("its type does not travel".to_owned()))
    }
}

impl<T> Stays<T> for Probe<T> {}

/// A type that a node can take a reference to.
#[allow(missing_docs, reason = "as above")]
pub trait Lends<T: Lend + ?Sized> {
    fn lend<'f>(&self, call_context: &CallContext<'f>, index: usize) -> Result<T::Lent<'f>, Raised>
    where
        T: 'f;
}

impl<T: Lend + ?Sized> Lends<T> for &Probe<T> {
    #[inline]
    fn lend<'f>(&self, call_context: &CallContext<'f>, index: usize) -> Result<T::Lent<'f>, Raised>
    where
        T: 'f,
    {
        call_context.lend::<T>(index)
    }
}

/// A type to which there are no references on a worker.
#[allow(missing_docs, reason = "as above")]
pub trait Keeps<T: ?Sized> {
    fn lend(&self, _call_context: &CallContext<'_>, _index: usize) -> Result<Box<T>, Raised> {
        Err(Raised(Cause::Codec("its type does not travel".to_owned())))
    }
}

impl<T: ?Sized> Keeps<T> for Probe<T> {}
