//! The bytes that others know: layouts, refusals, and the way there and back. In a module of that
//! name, so that `cargo test abi` selects it.

#[path = "all.rs"]
mod abi;
