//! What stands in for functions that are bypassed: the part of [`Config`] that knows nodes.

use super::call::Node;
use super::config::Config;
use crate::config::call::{Bypassed, Condition};

impl Config {
    /// A node that runs in place of another one while that is bypassed. Its parameters are a
    /// [`Bypassed`], and those of the other one.
    #[must_use]
    pub fn provider<P, Q: ProvidesFor<P>, R>(
        mut self,
        node: &Node<P, R>,
        provider: &Node<Q, R>,
    ) -> Self {
        self.add_provider(node.name(), provider.desc());
        self
    }

    /// The same for all functions that have this name, full or its last parts. Where the types differ,
    /// the provider's call fails.
    #[must_use]
    pub fn provider_named<Q, R>(mut self, name: &str, provider: &Node<Q, R>) -> Self {
        self.add_provider(name, provider.desc());
        self
    }

    /// Whether a call is bypassed whose flag and tag say so. The condition runs in the process that
    /// calls, before the call is sent; an error of it is the error of the call.
    #[must_use]
    pub fn condition<P, R>(mut self, node: &Node<P, R>, condition: Condition) -> Self {
        self.add_condition(node.name(), condition);
        self
    }

    /// The same for all functions that have this name, full or its last parts.
    #[must_use]
    pub fn condition_named(mut self, name: &str, condition: Condition) -> Self {
        self.add_condition(name, condition);
        self
    }
}

/// Parameters of a provider for a node with parameters `P`: a [`Bypassed`], and then `P`.
#[diagnostic::on_unimplemented(
    message = "these are not the parameters of a provider for a node with parameters `{P}`",
    note = "a provider takes a `Bypassed`, and then the parameters of the node"
)]
pub trait ProvidesFor<P> {}

macro_rules! providers {
    ($(($($param:ident),*))+) => {$(
        impl<$($param),*> ProvidesFor<($($param,)*)> for (Bypassed, $($param,)*) {}
    )+};
}

providers! {
    () (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, G) (A, B, C, D, E, G, H)
}
