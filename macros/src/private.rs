//! The module that expansions name.

use proc_macro2::TokenStream;
use quote::quote;

/// Where everything is that expansions name.
pub(crate) fn private() -> TokenStream {
    quote!(::mailring::flow::__private)
}
