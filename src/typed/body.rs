//! Functions that can be the body of a task: their parameters are read from the arguments.

use std::error::Error;

use super::param::{Param, Source};
use crate::abi::TaskArgsView;
use crate::worker::{BoxError, TaskContext};

/// What a body returns: nothing, or a `Result` with an error that fails the task.
#[diagnostic::on_unimplemented(
    message = "a body cannot return `{Self}`",
    label = "return nothing, or a `Result<(), E>` with an error"
)]
pub trait Outcome: sealed::Outcome {}

impl<O: sealed::Outcome> Outcome for O {}

/// A function that can be the body of a task with parameters `P`. `M` tells the forms apart; it is
/// always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the body of a task",
    label = "not a function of task parameters",
    note = "a body takes up to twelve of `In<T>`, `Out<T>`, `InOut<T>` and plain data of at most \
            eight bytes, after an optional `&TaskContext`; it returns nothing or a `Result<(), E>`, \
            and is `Fn + Send + Sync + 'static`",
    note = "the types of a closure's parameters have to be written out"
)]
pub trait Body<P, M>: sealed::Body<P, M> {}

impl<F: sealed::Body<P, M>, P, M> Body<P, M> for F {}

mod sealed {
    use super::{BoxError, TaskArgsView, TaskContext};

    pub trait Outcome {
        fn into_result(self) -> Result<(), BoxError>;
    }

    pub trait Body<P, M>: Send + Sync + 'static {
        /// # Safety
        /// The arguments are those of a task that `spawn` submitted for parameters `P`, and this is
        /// its only call in this attempt.
        unsafe fn call(
            &self,
            name: &str,
            args: TaskArgsView<'_>,
            context: &TaskContext<'_>,
        ) -> Result<(), BoxError>;
    }
}

pub(super) use sealed::Body as Call;

impl sealed::Outcome for () {
    #[inline]
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> sealed::Outcome for Result<(), E> {
    #[inline]
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}

/// The form of a body that begins with a context.
pub struct WithContext;

/// Functions of these parameters, without a context and with one.
macro_rules! bodies {
    ($($P:ident $A:ident)*) => {
        #[allow(non_snake_case, reason = "arguments are called as their types are")]
        impl<F, R, $($P,)*> sealed::Body<($($P::Spec,)*), fn($($P,)*) -> R> for F
        where
            F: Fn($($P,)*) -> R + for<'a> Fn($($P::At<'a>,)*) -> R + Send + Sync + 'static,
            R: Outcome,
            $($P: Param,)*
        {
            #[inline]
            unsafe fn call(
                &self,
                name: &str,
                args: TaskArgsView<'_>,
                _context: &TaskContext<'_>,
            ) -> Result<(), BoxError> {
                // Said once more with types: the function is known to be called in two ways.
                #[inline(always)]
                #[allow(clippy::too_many_arguments, reason = "as many as the body has")]
                fn call<R, $($P,)*>(f: impl Fn($($P,)*) -> R, $($A: $P,)*) -> R {
                    f($($A,)*)
                }
                #[allow(unused_mut, unused_variables, reason = "there may be no parameters")]
                let mut from = Source::new(name, args);
                // SAFETY: the caller's promise; each is read once, in order.
                $(let $A = unsafe { $P::read(&mut from) }?;)*
                call::<R, $($P::At<'_>,)*>(self, $($A,)*).into_result()
            }
        }

        #[allow(non_snake_case, reason = "arguments are called as their types are")]
        impl<F, R, $($P,)*> sealed::Body<($($P::Spec,)*), fn(WithContext, $($P,)*) -> R> for F
        where
            F: Fn(&TaskContext<'_>, $($P,)*) -> R
                + for<'a> Fn(&TaskContext<'_>, $($P::At<'a>,)*) -> R
                + Send
                + Sync
                + 'static,
            R: Outcome,
            $($P: Param,)*
        {
            #[inline]
            unsafe fn call(
                &self,
                name: &str,
                args: TaskArgsView<'_>,
                context: &TaskContext<'_>,
            ) -> Result<(), BoxError> {
                #[inline(always)]
                #[allow(clippy::too_many_arguments, reason = "as many as the body has")]
                fn call<R, $($P,)*>(
                    f: impl Fn(&TaskContext<'_>, $($P,)*) -> R,
                    context: &TaskContext<'_>,
                    $($A: $P,)*
                ) -> R {
                    f(context, $($A,)*)
                }
                #[allow(unused_mut, unused_variables, reason = "there may be no parameters")]
                let mut from = Source::new(name, args);
                // SAFETY: as above.
                $(let $A = unsafe { $P::read(&mut from) }?;)*
                call::<R, $($P::At<'_>,)*>(self, context, $($A,)*).into_result()
            }
        }
    };
}
super::argument::up_to_twelve!(bodies);
