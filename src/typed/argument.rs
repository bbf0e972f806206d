//! What `spawn` takes for the parameters of a task.

use bytemuck::Pod;

use super::param::{In, InOut, Out, Param, word_of};
use super::view::View;
use crate::abi::{Element, TaskArgs, TensorArgType};
use crate::error::ArgumentFault;
use crate::executor::{Buffer, Orchestrator};

/// The most parameters that a task has.
const MOST: usize = 12;

/// In a box, since it is rare, and large.
pub(super) type Fault = Box<ArgumentFault>;

/// An argument for a parameter `P`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an argument for the parameter `{P}`",
    label = "no argument for `{P}`",
    note = "a slice takes a `&Buffer` or a `View` of its element type, a scalar a value of its type"
)]
pub trait Argument<P>: sealed::Argument<P> {}

impl<A: sealed::Argument<P>, P> Argument<P> for A {}

/// The arguments of a task with parameters `P`: a tuple with one for each.
#[diagnostic::on_unimplemented(
    message = "`{Self}` are no arguments for a task with the parameters `{P}`",
    label = "not the arguments of `{P}`",
    note = "a task takes a tuple with one argument for each parameter: `(&buffer, 7)`, `(&buffer,)`"
)]
pub trait Arguments<P>: sealed::Arguments<P> {}

impl<A: sealed::Arguments<P>, P> Arguments<P> for A {}

mod sealed {
    use super::{Fault, Packer};

    #[diagnostic::on_unimplemented(
        message = "`{Self}` is not an argument for the parameter `{P}`",
        label = "no argument for `{P}`",
        note = "a slice takes a `&Buffer` or a `View` of its element type, a scalar a value of its \
                type"
    )]
    pub trait Argument<P> {
        fn add(self, to: &mut Packer<'_>) -> Result<(), Fault>;
    }

    #[diagnostic::on_unimplemented(
        message = "`{Self}` are no arguments for a task with the parameters `{P}`",
        label = "not the arguments of `{P}`",
        note = "a task takes a tuple with one argument for each parameter: `(&buffer, 7)`, \
                `(&buffer,)`"
    )]
    pub trait Arguments<P> {
        /// The parameters (from 1) that take a slice.
        const PARAMETERS: &'static [u8];

        /// Adds all; if one is refused, which (from 1), and why.
        fn add_all(self, to: &mut Packer<'_>) -> Result<(), (usize, Fault)>;
    }
}

/// Arguments on their way into the form that travels.
pub struct Packer<'o> {
    orchestrator: &'o Orchestrator,
    args: TaskArgs,
}

impl<'o> Packer<'o> {
    #[inline]
    pub(super) fn new(orchestrator: &'o Orchestrator) -> Self {
        Self { orchestrator, args: TaskArgs::new() }
    }

    #[inline]
    pub(super) fn finish(self) -> TaskArgs {
        self.args
    }

    #[inline(always)]
    fn buffer<T: Element>(&mut self, buffer: &Buffer<T>, tag: TensorArgType) -> Result<(), Fault> {
        const { assert!(size_of::<T>() == T::DTYPE.size(), "`Element` describes another size") };
        const { assert!(align_of::<T>() <= 64, "buffers are aligned to 64 bytes") };
        if buffer.executor() != self.orchestrator.executor() {
            return Err(Box::new(ArgumentFault::OtherExecutor));
        }
        if buffer.is_foreign() {
            return Err(Box::new(ArgumentFault::Imported));
        }
        self.args.push_tensor(buffer.tensor(), tag);
        Ok(())
    }

    #[inline(always)]
    fn view<T: Element>(&mut self, view: &View<'_, T>, tag: TensorArgType) -> Result<(), Fault> {
        view.check(self.orchestrator)?;
        self.args
            .push_tensor(view.tensor(), if view.is_ordered() { tag } else { TensorArgType::NoDep });
        Ok(())
    }
}

/// Slices take buffers and views.
macro_rules! slices {
    ($($name:ident as $tag:ident),*) => { $(
        impl<T: Element> sealed::Argument<$name<'static, T>> for &Buffer<T> {
            #[inline]
            fn add(self, to: &mut Packer<'_>) -> Result<(), Fault> {
                to.buffer(self, TensorArgType::$tag)
            }
        }

        impl<T: Element> sealed::Argument<$name<'static, T>> for View<'_, T> {
            #[inline]
            fn add(self, to: &mut Packer<'_>) -> Result<(), Fault> {
                to.view(&self, TensorArgType::$tag)
            }
        }
    )* };
}
slices!(In as Input, Out as OutputExisting, InOut as InOut);

impl<S: Pod> sealed::Argument<S> for S {
    #[inline]
    fn add(self, to: &mut Packer<'_>) -> Result<(), Fault> {
        to.args.add_scalar(word_of(self));
        Ok(())
    }
}

/// The numbers (from 1) of those that are true, one after the other.
const fn numbers(slices: &[bool]) -> [u8; MOST] {
    let (mut numbers, mut at, mut found) = ([0; MOST], 0, 0);
    while at < slices.len() {
        if slices[at] {
            numbers[found] = at as u8 + 1;
            found += 1;
        }
        at += 1;
    }
    numbers
}

macro_rules! arguments {
    ($($P:ident $A:ident)*) => {
        impl<$($P, $A,)*> sealed::Arguments<($($P,)*)> for ($($A,)*)
        where
            $($P: Param, $A: Argument<$P>,)*
        {
            const PARAMETERS: &'static [u8] = &numbers(&[$($P::SLICE),*]);

            #[inline]
            #[allow(non_snake_case, reason = "the names of the types")]
            #[allow(unused_assignments, unused_mut, unused_variables, reason = "maybe none")]
            fn add_all(self, to: &mut Packer<'_>) -> Result<(), (usize, Fault)> {
                let ($($A,)*) = self;
                let mut parameter = 0;
                $(
                    parameter += 1;
                    if let Err(fault) = $A.add(to) {
                        return Err((parameter, fault));
                    }
                )*
                Ok(())
            }
        }
    };
}

/// Calls a macro with no parameters, with one, and so on: a type and a name for each.
macro_rules! up_to_twelve {
    ($mac:ident) => {
        $mac!();
        $mac!(P1 A1);
        $mac!(P1 A1 P2 A2);
        $mac!(P1 A1 P2 A2 P3 A3);
        $mac!(P1 A1 P2 A2 P3 A3 P4 A4);
        $mac!(P1 A1 P2 A2 P3 A3 P4 A4 P5 A5);
        $mac!(P1 A1 P2 A2 P3 A3 P4 A4 P5 A5 P6 A6);
        $mac!(P1 A1 P2 A2 P3 A3 P4 A4 P5 A5 P6 A6 P7 A7);
        $mac!(P1 A1 P2 A2 P3 A3 P4 A4 P5 A5 P6 A6 P7 A7 P8 A8);
        $mac!(P1 A1 P2 A2 P3 A3 P4 A4 P5 A5 P6 A6 P7 A7 P8 A8 P9 A9);
        $mac!(P1 A1 P2 A2 P3 A3 P4 A4 P5 A5 P6 A6 P7 A7 P8 A8 P9 A9 P10 A10);
        $mac!(P1 A1 P2 A2 P3 A3 P4 A4 P5 A5 P6 A6 P7 A7 P8 A8 P9 A9 P10 A10 P11 A11);
        $mac!(P1 A1 P2 A2 P3 A3 P4 A4 P5 A5 P6 A6 P7 A7 P8 A8 P9 A9 P10 A10 P11 A11 P12 A12);
    };
}
up_to_twelve!(arguments);
pub(super) use up_to_twelve;
