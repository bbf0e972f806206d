//! The C interface of mailring. What a C program sees of it is `include/mailring.h`, which is
//! made from these sources; [`api`] is the whole of it.

#[cfg(not(panic = "unwind"))]
compile_error!("a panic must not end a C program: compile this crate with panic=unwind");

pub mod api;
