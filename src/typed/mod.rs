//! Tasks with typed parameters: checked when they are compiled and submitted, and given slices.
//!
//! ```rust,standalone_crate
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use mailring::prelude::*;
//!
//! let mut builder = Executor::builder().workers(2);
//! let fill = builder.task("fill", |mut out: Out<u64>, start: u64| {
//!     out.iter_mut().zip(start..).for_each(|(x, value)| *x = value);
//! })?;
//! let add = builder.task("add", |x: In<u64>, y: In<u64>, mut sum: Out<u64>| {
//!     for i in 0..sum.len() {
//!         sum[i] = x[i] + y[i];
//!     }
//! })?;
//! let exec = builder.build()?;
//! let [a, b, sum] = [exec.buffer(1000)?, exec.buffer(1000)?, exec.buffer(1000)?];
//! exec.run(|s| {
//!     s.spawn(fill, (&a, 1))?;
//!     s.spawn(fill, (&b, 100))?;
//!     s.spawn(add, (&a, &b, &sum)) // waits for both: it reads what they write
//! })?;
//! assert_eq!(sum.get(999)?, 2099);
//! # Ok(())
//! # }
//! ```
//!
//! A body is a closure or function of up to twelve parameters, and before them, if it likes, a
//! [`&TaskContext`](crate::TaskContext):
//!
//! | parameter | what the body gets | what [`spawn`](crate::Orchestrator::spawn) takes |
//! | --- | --- | --- |
//! | [`In<T>`](In) | `&[T]` | `&Buffer<T>` or [`View<T>`](View) |
//! | [`Out<T>`](Out) | `&mut [T]`, to be written before it is read | the same |
//! | [`InOut<T>`](InOut) | `&mut [T]` | the same |
//! | plain data of at most eight bytes | the value | a value of that type |
//!
//! It returns nothing, or a `Result<(), E>` with any error. A [`View`] is a part of a buffer, or
//! memory that lives as long as a scope ([`Orchestrator::array`](crate::Orchestrator::array)), with
//! a shape if need be.
//!
//! # What makes the slices sound
//!
//! * Tasks are ordered by the bytes that they name. Executors with
//!   [compatible hazards](crate::Hazards::Compatible) order less, and refuse typed tasks.
//! * Bytes that a task writes are named by no other of its arguments, nor by those of another member
//!   of its group: `spawn` refuses what overlaps.
//! * A slice cannot outlive the call of the body: its lifetime is that of the call.
//! * `spawn` refuses memory of other executors, memory of a scope that has closed, and imported
//!   memory. A function that was registered here takes arguments of its own types alone.
//! * The worker checks place, size, type and alignment again before it makes a slice.
//! * The host reads and writes a buffer through guards ([`Buffer::read`](crate::Buffer::read)), which
//!   exclude tasks that name it.
//! * Tasks without types, in the same executor, write where they were submitted to write; NO_DEP is refused.
//!
//! Accesses that are not ordered by bytes need the unsafe [`View::unordered`] and [`View::of`].
//!
//! # What does not compile
//!
//! An argument of another element type:
//!
//! ```compile_fail,E0277
//! # use mailring::prelude::*;
//! # fn f(s: &mut Orchestrator, task: Task<(In<'static, f64>,)>, b: &Buffer<f32>) {
//! let _ = s.spawn(task, (b,));
//! # }
//! ```
//!
//! Too few arguments, or too many:
//!
//! ```compile_fail,E0277
//! # use mailring::prelude::*;
//! # fn f(s: &mut Orchestrator, task: Task<(In<'static, f64>, u64)>, b: &Buffer<f64>) {
//! let _ = s.spawn(task, (b,));
//! # }
//! ```
//!
//! A scalar where a slice is expected, and the other way round:
//!
//! ```compile_fail,E0277
//! # use mailring::prelude::*;
//! # fn f(s: &mut Orchestrator, task: Task<(In<'static, u64>,)>) {
//! let _ = s.spawn(task, (7u64,));
//! # }
//! ```
//!
//! ```compile_fail,E0277
//! # use mailring::prelude::*;
//! # fn f(s: &mut Orchestrator, task: Task<(u64,)>, b: &Buffer<u64>) {
//! let _ = s.spawn(task, (b,));
//! # }
//! ```
//!
//! A body that keeps a slice:
//!
//! ```compile_fail,E0521
//! # use mailring::prelude::*;
//! # use std::sync::Mutex;
//! static KEPT: Mutex<Option<In<'static, u64>>> = Mutex::new(None);
//! let _ = Executor::builder().task("keep", |x: In<u64>| {
//!     *KEPT.lock().unwrap() = Some(x);
//! });
//! ```
//!
//! A body that keeps its context, or gives what it has to another thread:
//!
//! ```compile_fail,E0521
//! # use mailring::prelude::*;
//! # use std::sync::Mutex;
//! static KEPT: Mutex<Option<&'static TaskContext<'static>>> = Mutex::new(None);
//! let _ = Executor::builder().task("keep", |context: &TaskContext, _x: In<u64>| {
//!     *KEPT.lock().unwrap() = Some(context);
//! });
//! ```
//!
//! ```compile_fail,E0521
//! # use mailring::prelude::*;
//! let (others, _receiver) = std::sync::mpsc::channel::<Out<'static, u64>>();
//! let _ = Executor::builder().task("send", move |x: Out<u64>| drop(others.send(x)));
//! ```
//!
//! ```compile_fail,E0521
//! # use mailring::prelude::*;
//! let _ = Executor::builder().task("spawn", |mut x: InOut<u64>| {
//!     std::thread::spawn(move || x[0] = 1);
//! });
//! ```
//!
//! A body that borrows what may be gone when it runs:
//!
//! ```compile_fail,E0373
//! # use mailring::prelude::*;
//! let local = 1u64;
//! let _ = Executor::builder().task("borrow", |mut x: Out<u64>| x[0] = local);
//! ```
//!
//! The submitter in another thread, or after its run:
//!
//! ```compile_fail,E0521
//! # use mailring::prelude::*;
//! # fn f(exec: &Executor, task: Task<()>) {
//! let _ = exec.run(|s| {
//!     std::thread::spawn(move || s.spawn(task, ()));
//!     Ok(())
//! });
//! # }
//! ```
//!
//! ```compile_fail,E0521
//! # use mailring::prelude::*;
//! # fn f(exec: &Executor) {
//! let mut kept: Option<&mut Orchestrator> = None;
//! let _ = exec.run(|s| Ok(kept = Some(s)));
//! # }
//! ```
//!
//! A body with state of its own that it changes, or that is not for other threads:
//!
//! ```compile_fail,E0525
//! # use mailring::prelude::*;
//! let mut calls = 0;
//! let _ = Executor::builder().task("count", move |_x: In<u64>| calls += 1);
//! ```
//!
//! ```compile_fail,E0277
//! # use mailring::prelude::*;
//! let shared = std::rc::Rc::new(1u64);
//! let _ = Executor::builder().task("rc", move |mut x: Out<u64>| x[0] = *shared);
//! ```
//!
//! A parameter that is neither, and a scalar that is too long:
//!
//! ```compile_fail,E0277
//! # use mailring::prelude::*;
//! let _ = Executor::builder().task("text", |_text: String| ());
//! ```
//!
//! ```compile_fail,E0080
//! # use mailring::prelude::*;
//! let _ = Executor::builder().task("long", |_long: [u64; 2]| ());
//! ```
//!
//! Writing to an input:
//!
//! ```compile_fail,E0594
//! # use mailring::prelude::*;
//! let _ = Executor::builder().task("write", |mut x: In<u64>| x[0] = 1);
//! ```
//!
//! ```compile_fail,E0594
//! # use mailring::prelude::*;
//! # fn f(b: &Buffer<u64>) {
//! b.read().unwrap()[0] = 1;
//! # }
//! ```
//!
//! A guard that outlives its buffer, a slice that outlives its guard, and a part that outlives its
//! buffer:
//!
//! ```compile_fail,E0505
//! # use mailring::prelude::*;
//! # fn f(b: Buffer<u64>) {
//! let guard = b.write().unwrap();
//! drop(b);
//! drop(guard);
//! # }
//! ```
//!
//! ```compile_fail,E0716
//! # use mailring::prelude::*;
//! # fn f(b: &Buffer<u64>) {
//! let elements = b.read().unwrap().iter();
//! println!("{}", elements.len());
//! # }
//! ```
//!
//! ```compile_fail,E0505
//! # use mailring::prelude::*;
//! # fn f(s: &mut Orchestrator, task: Task<(Out<'static, u64>,)>, b: Buffer<u64>) {
//! let part = b.part(..1);
//! drop(b);
//! let _ = s.spawn(task, (part,));
//! # }
//! ```
//!
//! Leaving the order of the bytes without a word:
//!
//! ```compile_fail,E0133
//! # use mailring::prelude::*;
//! # fn f(s: &mut Orchestrator, task: Task<(Out<'static, u64>,)>, b: &Buffer<u64>) {
//! let _ = s.spawn(task, (b.part(0..1).unordered(),));
//! # }
//! ```

/// The examples of the guide are tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/engine.md")]
mod guide {}

mod argument;
mod body;
mod param;
mod spawn;
mod view;

pub use argument::{Argument, Arguments};
pub use body::{Body, Outcome};
pub use param::{In, InOut, Out, Param};
pub use spawn::Task;
pub use view::View;
