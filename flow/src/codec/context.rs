//! What a value's own `Serialize` and `Deserialize` cannot be given as parameters: which flow the
//! value is for, and which refs it names.
//!
//! Refs are no data. One is written only through [`put_token`], as an item of its own, and one is
//! read only if such an item stands in the value that is being read: numbers from anywhere else
//! make no ref.

use std::cell::{Cell, RefCell};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Visitor};
use serde::ser::{Error as _, Serializer};

use super::ext;
use crate::reference::{Handle, Side};

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
    /// The flow that it is for; none: that of this process.
    side: Option<Side>,
    /// Objects that the value being written names.
    named: Option<Vec<Handle>>,
    /// Tokens in the value being read; none while nothing is read.
    seen: Option<Vec<Token>>,
    /// Whether there may be any: not in bytes from outside.
    closed: bool,
}

thread_local! {
    static CONTEXT: RefCell<Context> = const {
        RefCell::new(Context { side: None, named: None, seen: None, closed: false })
    };
    /// The token that its owner is just handing to the writer.
    static HANDED: Cell<Option<Token>> = const { Cell::new(None) };
}

/// Does something in a context of its own; the old one comes back, also after a panic of the
/// user's code.
fn within<R>(context: Context, f: impl FnOnce() -> R) -> (R, Context) {
    struct Before(Option<Context>);
    impl Drop for Before {
        fn drop(&mut self) {
            if let Some(before) = self.0.take() {
                CONTEXT.replace(before);
            }
        }
    }
    let mut before = Before(Some(CONTEXT.replace(context)));
    let result = f();
    let own = before.0.take().map(|before| CONTEXT.replace(before));
    (result, own.unwrap_or_default())
}

/// The flow that the value at hand is for, if that is not simply the one of this process.
pub(crate) fn side() -> Option<Side> {
    CONTEXT.with_borrow(|context| context.side.clone())
}

/// Writes a value for a flow; the objects that were named on the way, which may be dropped with
/// the value.
pub(super) fn writing<R>(side: Option<&Side>, f: impl FnOnce() -> R) -> (R, Vec<Handle>) {
    let context = Context { side: side.cloned(), named: Some(Vec::new()), ..Context::default() };
    let (result, context) = within(context, f);
    (result, context.named.unwrap_or_default())
}

/// Reads a value of a flow.
pub(super) fn reading<R>(side: Option<&Side>, f: impl FnOnce() -> R) -> R {
    let context = Context { side: side.cloned(), seen: Some(Vec::new()), ..Context::default() };
    within(context, f).0
}

/// Reads bytes from outside, in which no refs stand.
pub(super) fn reading_foreign<R>(f: impl FnOnce() -> R) -> R {
    let context = Context { seen: Some(Vec::new()), closed: true, ..Context::default() };
    within(context, f).0
}

/// Notes that the value being written names an object. Whoever writes a ref for himself alone
/// keeps it himself.
fn note(handle: &Handle) {
    if CONTEXT.with_borrow(|context| context.named.is_some()) {
        let handle = handle.clone();
        CONTEXT.with_borrow_mut(|context| {
            context.named.iter_mut().for_each(|all| all.push(handle.clone()))
        });
    }
}

/// Whether something is of the flow that it is about to be given to.
fn check_stamp(stamp: usize) -> Result<(), String> {
    let side = Side::current().map_err(|error| error.to_string())?;
    if stamp == side.stamp() { Ok(()) } else { Err(FOREIGN.to_owned()) }
}

/// What is said of a ref in the wrong place.
pub(crate) const FOREIGN: &str = "a ref of another flow means nothing here; get its value first";

/// What is said of a ref that was made up.
const FORGED: &str = "a ref is not data: it travels in arguments and values of its flow alone";

/// What is said of a ref in bytes from outside.
const OUTSIDE: &str = "bytes from outside name a ref, which nothing holds; give the value";

/// Writes a ref: its words, as a token where we write, and as plain numbers elsewhere.
pub(crate) fn put_token<S: Serializer>(
    serializer: S,
    kind: u8,
    handle: Option<&Handle>,
    stamp: usize,
    words: &[u64],
) -> Result<S::Ok, S::Error> {
    if let Some(handle) = handle {
        note(handle);
    }
    check_stamp(stamp).map_err(S::Error::custom)?;
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
