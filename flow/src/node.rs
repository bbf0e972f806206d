//! Nodes: functions that any worker can find, since they were there before the fork.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::OnceLock;

use serde::de::DeserializeOwned;

use crate::Flow;
use crate::args::{ArgWriter, IntoArg, RawArgs};
use crate::call::{Call, call_remote};
use crate::error::{BadArgument, Error, Raised};
use crate::reference::ObjectRef;
use crate::worker::call::CallContext;

/// What a node is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A function.
    Node,
    /// Makes an actor.
    Constructor,
    /// A method of an actor.
    Method,
}

/// Everything that is known of a node. `#[node]` makes one; it has the same address in every
/// process that was forked from this one.
pub struct NodeDesc {
    /// Its full name.
    pub name: &'static str,
    /// Where its function is.
    pub file: &'static str,
    /// The line of it.
    pub line: u32,
    /// The names of its parameters.
    pub params: &'static [&'static str],
    /// In 1/10000; -1: not said.
    pub cpus: i64,
    /// Labels with quantities in 1/10000.
    pub resources: &'static [(&'static str, i64)],
    /// Further attempts after the death of a worker; -1: without limit.
    pub max_retries: i32,
    /// How long its body may run, in nanoseconds; 0: without end.
    pub deadline_ns: u64,
    /// See [`Call::priority`].
    pub priority: i32,
    /// What it is for.
    pub kind: Kind,
    /// Decodes the arguments, calls the function, encodes what it returned.
    pub run: fn(&mut CallContext<'_>) -> Result<(), Raised>,
    /// Decodes the arguments.
    pub check: fn(&RawArgs<'_>) -> Result<(), BadArgument>,
}

/// Every node of the program.
#[linkme::distributed_slice]
pub static NODES: [NodeDesc];

/// A place in [`NODES`] that is known to exist.
pub(super) fn number_of(desc: &'static NodeDesc) -> u32 {
    let first = NODES.as_ptr() as usize;
    ((std::ptr::from_ref(desc) as usize - first) / size_of::<NodeDesc>()) as u32
}

/// The node of this number.
pub(super) fn by_number(number: u32) -> Option<&'static NodeDesc> {
    NODES.get(number as usize)
}

/// Makes the table of names, so that no thread is about to do so when a worker is forked.
pub(super) fn prepare_names() {
    let _ = by_name("");
}

/// The node with this full name, or the only one whose name ends with `::name`.
pub(super) fn by_name(name: &str) -> Result<&'static NodeDesc, Error> {
    static NAMES: OnceLock<HashMap<&'static str, Vec<&'static NodeDesc>>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let mut names: HashMap<_, Vec<_>> = HashMap::new();
        // Ours have no names by which they are called.
        let own =
            |node: &&NodeDesc| node.kind == Kind::Node && !node.name.starts_with("mailring::");
        for node in NODES.iter().filter(own) {
            names.entry(node.name).or_default().push(node);
        }
        names
    });
    let found: Vec<_> = match names.get(name) {
        Some(nodes) => nodes.clone(),
        None => {
            let ends = |node: &&&NodeDesc| {
                node.name.strip_suffix(name).is_some_and(|front| front.ends_with("::"))
            };
            names.values().flatten().filter(ends).copied().collect()
        }
    };
    match found[..] {
        [node] => Ok(node),
        [] => Err(Error::NotANode(name.to_owned())),
        [one, other, ..] => Err(Error::Invalid(format!(
            "several nodes are called `{name}`: `{}` ({}:{}) and `{}` ({}:{}) among them; give more of the name",
            one.name, one.file, one.line, other.name, other.file, other.line
        ))),
    }
}

/// A function that can be called on a worker: parameters `P` (a tuple), value `R`.
///
/// `#[node]` on `fn compile` makes `compile::NODE`, on a method `build` of a struct inside
/// `#[nodes]` the constant `BUILD`.
pub struct Node<P, R> {
    desc: &'static NodeDesc,
    types: PhantomData<fn(P) -> R>,
}

impl<P, R> Clone for Node<P, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P, R> Copy for Node<P, R> {}

impl<P, R> Node<P, R> {
    #[doc(hidden)]
    pub const fn new(desc: &'static NodeDesc) -> Self {
        Self { desc, types: PhantomData }
    }

    #[doc(hidden)]
    pub const fn desc(&self) -> &'static NodeDesc {
        self.desc
    }

    /// Its full name.
    pub fn name(&self) -> &'static str {
        self.desc.name
    }

    /// A call with options of its own; it can be used again and again.
    pub fn options(&self) -> Call<P, R> {
        Call::new(self.desc)
    }
}

/// A tuple of arguments, each a value or a ref, for parameters `P`.
#[diagnostic::on_unimplemented(
    message = "these are no arguments for the parameters `{P}` of the node",
    label = "give a tuple with a value or an `ObjectRef` for each parameter"
)]
pub trait IntoArgs<P> {
    #[doc(hidden)]
    fn put_all(self, writer: &mut ArgWriter);
}

/// What [`call_remote`](crate::call_remote) takes: a node, or a node with options.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a node",
    label = "expected `function::NODE`, `Type::METHOD`, or one of them with `.options()`",
    note = "put #[node] on the function, and pass `&function::NODE`"
)]
pub trait Callee {
    /// Its parameters, a tuple.
    type Params;
    /// Its value.
    type Value;

    #[doc(hidden)]
    fn dispatch(
        &self,
        flow: &Flow,
        put: &mut dyn FnMut(&mut ArgWriter),
    ) -> Result<ObjectRef<Self::Value>, Error>;
}

impl<P, R> Callee for Node<P, R> {
    type Params = P;
    type Value = R;

    fn dispatch(
        &self,
        flow: &Flow,
        put: &mut dyn FnMut(&mut ArgWriter),
    ) -> Result<ObjectRef<R>, Error> {
        flow.dispatch(self.desc, None, put)
    }
}

impl<P, R> Callee for Call<P, R> {
    type Params = P;
    type Value = R;

    fn dispatch(
        &self,
        flow: &Flow,
        put: &mut dyn FnMut(&mut ArgWriter),
    ) -> Result<ObjectRef<R>, Error> {
        flow.dispatch(self.desc(), Some(self.overrides()), put)
    }
}

macro_rules! arities {
    ($(($($arg:ident: $param:ident/$given:ident),*))+) => {$(
        impl<$($param, $given: IntoArg<$param>),*> IntoArgs<($($param,)*)> for ($($given,)*) {
            fn put_all(self, writer: &mut ArgWriter) {
                let _ = &writer;
                let ($($arg,)*) = self;
                $($arg.put(writer);)*
            }
        }

        impl<$($param,)* R> Node<($($param,)*), R> {
            /// Has a worker call it. Returns at once; each argument is a value or an
            /// [`ObjectRef`] of one.
            ///
            /// # Errors
            /// An argument cannot be encoded, no worker could ever run it, or the flow is closed.
            #[allow(clippy::too_many_arguments, reason = "as many as the function has")]
            pub fn remote(&self, flow: &Flow, $($arg: impl IntoArg<$param>),*) -> Result<ObjectRef<R>, Error> {
                call_remote(flow, self, ($($arg,)*))
            }

            /// The same, and waits for the value.
            ///
            /// # Errors
            /// As for `remote`, and the task's own.
            #[allow(clippy::too_many_arguments, reason = "as many as the function has")]
            pub fn remote_blocking(&self, flow: &Flow, $($arg: impl IntoArg<$param>),*) -> Result<R, Error>
            where
                R: DeserializeOwned,
            {
                self.remote(flow, $($arg),*)?.get()
            }
        }

        impl<$($param,)* R> Call<($($param,)*), R> {
            /// Has a worker call it with these options.
            ///
            /// # Errors
            /// An invalid option or quantity, and as for a node.
            #[allow(clippy::too_many_arguments, reason = "as many as the function has")]
            pub fn remote(&self, flow: &Flow, $($arg: impl IntoArg<$param>),*) -> Result<ObjectRef<R>, Error> {
                call_remote(flow, self, ($($arg,)*))
            }

            /// The same, and waits for the value.
            ///
            /// # Errors
            /// As for `remote`, and the task's own.
            #[allow(clippy::too_many_arguments, reason = "as many as the function has")]
            pub fn remote_blocking(&self, flow: &Flow, $($arg: impl IntoArg<$param>),*) -> Result<R, Error>
            where
                R: DeserializeOwned,
            {
                self.remote(flow, $($arg),*)?.get()
            }
        }
    )+};
}

arities! {
    ()
    (a: A/X)
    (a: A/X, b: B/Y)
    (a: A/X, b: B/Y, c: C/Z)
    (a: A/X, b: B/Y, c: C/Z, d: D/U)
    (a: A/X, b: B/Y, c: C/Z, d: D/U, e: E/V)
    (a: A/X, b: B/Y, c: C/Z, d: D/U, e: E/V, g: G/W)
    (a: A/X, b: B/Y, c: C/Z, d: D/U, e: E/V, g: G/W, h: H/S)
    (a: A/X, b: B/Y, c: C/Z, d: D/U, e: E/V, g: G/W, h: H/S, i: I/T)
}
