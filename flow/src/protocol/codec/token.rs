//! Refs in values: items of their own, which only their owners write and read.
//!
//! Refs are no data. One is written only through [`put_token`], as an item of its own, and one is
//! read only if such an item stands in the value that is being read: numbers from anywhere else
//! make no ref.

use std::cell::{Cell, RefCell};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Visitor};
use serde::ser::Serializer;

use super::format::ext;

/// The name under which a token is handed to the writer and asked of the reader.
pub(super) const TOKEN: &str = "mailring::flow::token";

/// The words of a ref on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(super) kind: u8,
    len: usize,
    all: [u64; 4],
}

impl Token {
    /// A token of at most four words.
    pub(super) fn new(kind: u8, words: &[u64]) -> Option<Self> {
        let mut all = [0; 4];
        all.get_mut(..words.len())?.copy_from_slice(words);
        Some(Self { kind, len: words.len(), all })
    }

    pub(super) fn words(&self) -> &[u64] {
        &self.all[..self.len]
    }
}

/// What there is to know while one value is written or read.
#[derive(Default)]
struct Context {
    /// Tokens in the value being read; none while nothing is read.
    seen: Option<Vec<Token>>,
    /// Whether there may be any: not in bytes from outside.
    closed: bool,
    /// It is read and written only to see whether it arrives as it is.
    trial: bool,
}

thread_local! {
    static CONTEXT: RefCell<Context> = const {
        RefCell::new(Context { seen: None, closed: false, trial: false })
    };
    /// The token that its owner is just handing to the writer.
    static HANDED: Cell<Option<Token>> = const { Cell::new(None) };
}

/// Does something in a context of its own; the old one comes back, also after a panic of the
/// user's code.
fn within<R>(context: Context, f: impl FnOnce() -> R) -> R {
    struct Before(Option<Context>);
    impl Drop for Before {
        fn drop(&mut self) {
            if let Some(before) = self.0.take() {
                CONTEXT.replace(before);
            }
        }
    }
    let _before = Before(Some(CONTEXT.replace(context)));
    f()
}

/// Writes a value.
pub(super) fn writing<R>(f: impl FnOnce() -> R) -> R {
    within(Context::default(), f)
}

/// Reads a value.
pub(super) fn reading<R>(f: impl FnOnce() -> R) -> R {
    within(Context { seen: Some(Vec::new()), ..Context::default() }, f)
}

/// Reads and writes a value only to see whether it arrives as it is.
pub(super) fn trying<R>(f: impl FnOnce() -> R) -> R {
    within(Context { seen: Some(Vec::new()), trial: true, ..Context::default() }, f)
}

/// Whether the value being written stays here: what it names is not kept for it.
pub(crate) fn stays_here() -> bool {
    CONTEXT.with_borrow(|context| context.trial)
}

/// Reads bytes from outside, in which no refs stand.
pub(super) fn reading_foreign<R>(f: impl FnOnce() -> R) -> R {
    within(Context { seen: Some(Vec::new()), closed: true, ..Context::default() }, f)
}

/// What is said of a ref that was made up.
const FORGED: &str = "a ref is not data: it travels in arguments and values of its flow alone";

/// What is said of a ref in bytes from outside.
const OUTSIDE: &str = "bytes from outside name a ref, which nothing holds; give the value";

/// Writes a ref: its words, as a token where we write, and as plain numbers elsewhere.
pub(crate) fn put_token<S: Serializer>(
    serializer: S,
    kind: u8,
    words: &[u64],
) -> Result<S::Ok, S::Error> {
    HANDED.set(Token::new(kind, words));
    let written = serializer.serialize_newtype_struct(TOKEN, words);
    HANDED.set(None);
    written
}

/// The token that is being handed over, for the writer.
pub(super) fn take_token() -> Option<Token> {
    HANDED.take()
}

/// Notes a token that stands in the value being read.
pub(super) fn see(token: Token) -> Result<(), &'static str> {
    CONTEXT.with_borrow_mut(|context| match &mut context.seen {
        Some(_) if context.closed => Err(OUTSIDE),
        Some(seen) => {
            seen.push(token);
            Ok(())
        }
        None => Err(FORGED),
    })
}

/// Reads a ref: its words, if they stand in the value being read as a token of this kind.
pub(crate) fn take_words<'de, D: Deserializer<'de>>(
    deserializer: D,
    kind: u8,
) -> Result<[u64; 4], D::Error> {
    struct Words;

    impl<'de> Visitor<'de> for Words {
        type Value = Vec<u64>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a ref")
        }

        fn visit_newtype_struct<D: Deserializer<'de>>(
            self,
            inner: D,
        ) -> Result<Vec<u64>, D::Error> {
            Vec::deserialize(inner).map_err(|_| D::Error::custom(FORGED))
        }
    }

    let words = deserializer.deserialize_newtype_struct(TOKEN, Words)?;
    let token = Token::new(kind, &words);
    let known = token.is_some_and(|token| {
        CONTEXT
            .with_borrow(|context| context.seen.as_ref().is_some_and(|seen| seen.contains(&token)))
    });
    match token {
        Some(token) if known => Ok(token.all),
        _ => Err(D::Error::custom(FORGED)),
    }
}

/// The kinds of tokens.
pub(crate) mod kind {
    pub(crate) use super::ext::{ACTOR, REF, SHARED};
}
