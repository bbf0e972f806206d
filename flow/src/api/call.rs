//! Nodes, and calls of them.

use std::marker::PhantomData;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::flow::Flow;
use super::into_arg::IntoArg;
use super::placement::PlacementGroup;
use super::reference::ObjectRef;
use crate::protocol::arg_writer::ArgWriter;
use crate::protocol::error::Error;
use crate::protocol::node::{NodeDesc, number_of};
use crate::protocol::options::{Hook, Overrides, Strategy};

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
    fn put_all(self, writer: &mut ArgWriter<'_>);
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
        put: &mut dyn FnMut(&mut ArgWriter<'_>),
    ) -> Result<ObjectRef<Self::Value>, Error>;
}

impl<P, R> Callee for Node<P, R> {
    type Params = P;
    type Value = R;

    fn dispatch(
        &self,
        flow: &Flow,
        put: &mut dyn FnMut(&mut ArgWriter<'_>),
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
        put: &mut dyn FnMut(&mut ArgWriter<'_>),
    ) -> Result<ObjectRef<R>, Error> {
        flow.dispatch(self.desc(), Some(self.overrides()), put)
    }
}

/// A node with options in front of those it was declared with. It does not change the node, and
/// can be used again and again.
///
/// Options merge one by one: what is not set is as the node says; resources are one option, so
/// [`resource`](Self::resource) replaces all labels of the node.
pub struct Call<P, R> {
    desc: &'static NodeDesc,
    overrides: Overrides,
    types: PhantomData<fn(P) -> R>,
}

impl<P, R> Clone for Call<P, R> {
    fn clone(&self) -> Self {
        Self { desc: self.desc, overrides: self.overrides.clone(), types: PhantomData }
    }
}

impl<P, R> Call<P, R> {
    pub(crate) fn new(desc: &'static NodeDesc) -> Self {
        Self { desc, overrides: Overrides::default(), types: PhantomData }
    }

    pub(crate) fn desc(&self) -> &'static NodeDesc {
        self.desc
    }

    pub(crate) fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    /// Cpus that the task holds while it runs (default 1).
    #[must_use]
    pub fn cpus(mut self, cpus: f64) -> Self {
        self.overrides.cpus(cpus);
        self
    }

    /// A resource that the task holds while it runs. The first one replaces all that the node
    /// declares.
    #[must_use]
    pub fn resource(mut self, label: &str, amount: f64) -> Self {
        self.overrides.resource(label, amount);
        self
    }

    /// No labels at all, whatever the node declares: any worker with the cpus will do.
    #[must_use]
    pub fn clear_resources(mut self) -> Self {
        self.overrides.labels = Some(Vec::new());
        self
    }

    /// Further attempts when the worker dies (default 3).
    #[must_use]
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.overrides.max_retries = Some(i32::try_from(retries).unwrap_or(i32::MAX));
        self
    }

    /// As many attempts as it takes.
    #[must_use]
    pub fn retry_forever(mut self) -> Self {
        self.overrides.max_retries = Some(-1);
        self
    }

    /// Errors of type `E` use up attempts too, instead of failing the task at once.
    #[must_use]
    pub fn retry_on<E>(mut self) -> Self {
        self.overrides.retry_on.push(std::any::type_name::<E>().to_owned());
        self
    }

    /// Every error and panic of the function does.
    #[must_use]
    pub fn retry_on_any_error(mut self) -> Self {
        self.overrides.retry_on.push("*".to_owned());
        self
    }

    /// How a worker is chosen.
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.overrides.strategy = strategy;
        self
    }

    /// Fans tasks out over all workers that have room.
    #[must_use]
    pub fn spread(self) -> Self {
        self.strategy(Strategy::Spread)
    }

    /// Runs on this worker (`group/index`) or this group of workers, and nowhere else.
    #[must_use]
    pub fn on(self, worker: &str) -> Self {
        self.strategy(Strategy::Worker { name: worker.to_owned(), soft: false })
    }

    /// Runs in what a placement group has reserved: one bundle of it, or any.
    #[must_use]
    pub fn placed(self, group: &PlacementGroup, bundle: Option<usize>) -> Self {
        self.strategy(group.strategy(bundle))
    }

    /// How long the body may run (default: as the node says, or without end). Then its worker is
    /// killed, and the task fails.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.overrides.deadline(deadline);
        self
    }

    /// Tasks of a higher priority are placed first (default: as the node says, or 0). One that needs
    /// more than is free at once is passed by others for half a second; then what becomes free is
    /// kept for it.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.overrides.priority = Some(priority);
        self
    }

    /// A name for this dispatch, kept with the task and listed by [`Flow::tasks`]. A cached result
    /// is stored under it, and a [`Config`](crate::Config) may tell by it which calls are bypassed.
    #[must_use]
    pub fn tag(mut self, tag: &str) -> Self {
        self.overrides.tag = Some(tag.to_owned());
        self
    }

    /// Files that the function reads: if its results are served from a cache, their content counts
    /// like an argument. Size and times tell whether a file is as it was; where they do not, a hash
    /// of the content does. A file that does not exist counts as well.
    #[must_use]
    pub fn inputs<I: AsRef<Path>>(mut self, paths: impl IntoIterator<Item = I>) -> Self {
        paths.into_iter().for_each(|path| self.overrides.input(path.as_ref()));
        self
    }

    /// What errors and listings call the task, in place of the function's name.
    #[must_use]
    pub fn display_name(mut self, name: &str) -> Self {
        self.overrides.display_name = Some(name.to_owned());
        self
    }

    /// A task that no worker could ever run waits until there is one, instead of being refused.
    #[must_use]
    pub fn wait_infeasible(mut self) -> Self {
        self.overrides.wait_infeasible = true;
        self
    }

    /// Runs on the worker right before the function. If it fails, the task does, and neither the
    /// function nor the cleanup runs. What it returns is ignored.
    #[must_use]
    pub fn setup<Q, S>(mut self, hook: &Node<Q, S>, args: impl IntoArgs<Q>) -> Self {
        self.overrides.hooks.setup = self.hook(hook, args, "setup");
        self
    }

    /// Runs on the worker after the function, also when that failed. Its own failure is logged and
    /// changes nothing.
    #[must_use]
    pub fn cleanup<Q, S>(mut self, hook: &Node<Q, S>, args: impl IntoArgs<Q>) -> Self {
        self.overrides.hooks.cleanup = self.hook(hook, args, "cleanup");
        self
    }

    fn hook<Q, S>(
        &mut self,
        hook: &Node<Q, S>,
        args: impl IntoArgs<Q>,
        which: &str,
    ) -> Option<Hook> {
        let mut writer = ArgWriter::default();
        args.put_all(&mut writer);
        match writer.plain() {
            Ok(args) => Some(Hook { node: number_of(hook.desc()), args }),
            Err(why) => {
                let why = format!("the {which} hook `{}`: {why}", hook.name());
                self.overrides.complain(Error::Invalid(why));
                None
            }
        }
    }
}

/// Calls a node, with or without options: `call_remote(&flow, &f::NODE, (x, y))` is
/// `f::remote(&flow, x, y)`. What is not a node does not compile:
///
/// ```compile_fail,E0277
/// use mailring::flow::{Flow, call_remote};
///
/// fn plain(n: u64) -> u64 {
///     n
/// }
///
/// let flow = Flow::current().unwrap();
/// let _ = call_remote(&flow, &plain, (1u64,)); // put #[node] on it, and pass &plain::NODE
/// ```
///
/// # Errors
/// As for `remote`.
pub fn call_remote<C: Callee>(
    flow: &Flow,
    callee: &C,
    args: impl IntoArgs<C::Params>,
) -> Result<ObjectRef<C::Value>, Error> {
    let mut args = Some(args);
    callee.dispatch(flow, &mut |writer| {
        if let Some(args) = args.take() {
            args.put_all(writer);
        }
    })
}

macro_rules! arities {
    ($(($($arg:ident: $param:ident/$given:ident),*))+) => {$(
        impl<$($param, $given: IntoArg<$param>),*> IntoArgs<($($param,)*)> for ($($given,)*) {
            fn put_all(self, writer: &mut ArgWriter<'_>) {
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

            /// Calls it here, on this thread, with the caching and bypass of the flow's configuration:
            /// what stands in for it runs here, and a result is stored under the tag, or served.
            /// Values of refs are waited for. The other options do not apply. In a body, which has no
            /// configuration, it simply runs.
            ///
            /// # Errors
            /// As for `remote_blocking`.
            #[allow(clippy::too_many_arguments, reason = "as many as the function has")]
            pub fn local(&self, flow: &Flow, $($arg: impl IntoArg<$param>),*) -> Result<R, Error>
            where
                R: DeserializeOwned,
            {
                let mut args = Some(($($arg,)*));
                flow.call_here(self.desc(), self.overrides(), &mut |writer| {
                    if let Some(args) = args.take() {
                        args.put_all(writer);
                    }
                })
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
