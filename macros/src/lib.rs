//! The attributes of `mailring::flow`: `node`, `nodes` and `actor`. Use them from there; what they
//! expand to names `::mailring::flow::__private` only, which is not an interface for anybody else.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `options` | what stands in the parentheses of an attribute |
//! | `quantity` | numbers with four decimals, exactly |
//! | `function` | a function, and the shape of its signature: what is refused |
//! | `types` | owned types, lifetimes, `Self` |
//! | `desc` | the descriptor: the static that a worker finds a function by |
//! | `node`, `nodes`, `actor` | one attribute each |

mod actor;
mod desc;
mod function;
mod node;
mod nodes;
mod options;
mod private;
mod quantity;
#[cfg(test)]
mod refuse;
mod types;

use proc_macro::TokenStream;

/// Makes a function a node: it can still be called as before, and on a worker as well.
///
/// ```ignore
/// #[node(resources(chipyard = 1), cpus = 2, max_retries = 0)]
/// pub fn compile(src: &str, level: u32) -> Result<Vec<u8>, BuildError> { /* .. */ }
///
/// let here = compile("a.c", 2)?;
/// let there = compile::remote(&flow, "a.c", 2)?;
/// ```
///
/// | option | what it says | when not given |
/// | --- | --- | --- |
/// | `cpus = 0.5` | processors held while it runs | 1 |
/// | `resources(label = 1, "other label" = 0.25)` | other quantities held meanwhile | none |
/// | `max_retries = 3` | runs again after a worker's death; -1: without limit | 3 |
/// | `name = "..."` | what it is called in reports | module path and name |
///
/// Quantities have four decimals at most. Parameters are named and owned, or plain references:
/// `&str`, `&[T]`, `&T`. There are 8 at most.
#[proc_macro_attribute]
pub fn node(options: TokenStream, item: TokenStream) -> TokenStream {
    node::expand(options.into(), item.into()).into()
}

/// Stands on an `impl` block of a plain struct, whose methods with `#[node(..)]` become nodes.
///
/// ```ignore
/// #[nodes]
/// impl Chisel {
///     #[node(cpus = 2)]
///     pub fn build(&self, x: u32) -> u32 { self.width + x }
/// }
///
/// let there = Chisel::BUILD.remote(&flow, &chisel, 3)?;
/// ```
///
/// The receiver, `&self` or `self`, is the first argument: a worker has a copy of it. `#[node]` is
/// read by this attribute, so it need not be imported for methods.
#[proc_macro_attribute]
pub fn nodes(options: TokenStream, item: TokenStream) -> TokenStream {
    nodes::expand(options.into(), item.into()).into()
}

/// Stands on an `impl` block of a plain struct, whose values can live on a worker from then on.
/// Makes a handle `TypeActor` beside it.
///
/// ```ignore
/// #[actor(resources(disk = 1), max_restarts = 2)]
/// impl Store {
///     pub fn open(dir: String) -> io::Result<Self> { /* .. */ }
///     pub fn write(&mut self, key: String, value: Vec<u8>) -> io::Result<()> { /* .. */ }
/// }
///
/// let store = StoreActor::open(&flow, "/data")?;
/// store.write("key", vec![1]).remote()?;
/// ```
///
/// `pub` functions without a receiver that return `Self` or `Result<Self, E>` are constructors,
/// those with `&self` or `&mut self` are calls. Others are left alone.
///
/// | option | what it says | when not given |
/// | --- | --- | --- |
/// | `cpus = 0.5` | processors held for life | 1 to place it, 0 afterwards |
/// | `resources(label = 1)` | other quantities held for life | none |
/// | `max_restarts = 2` | constructed again after its worker's death; -1: without limit | 0 |
#[proc_macro_attribute]
pub fn actor(options: TokenStream, item: TokenStream) -> TokenStream {
    actor::expand(options.into(), item.into()).into()
}
