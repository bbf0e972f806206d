//! The bottom layer of mailring: processes, shared memory and waiting. Nothing here knows a task.
//!
//! | module | contents |
//! | --- | --- |
//! | [`map`], [`reach`], [`membarrier`] | memfds, mappings, which memory this process has |
//! | [`futex`], [`parker`], [`wait`], [`wakeup`] | sleeping, and how sleepers are woken |
//! | [`neighbours`] | who else wants the processor |
//! | [`trial`] | which of two ways is quicker here |
//! | [`clock`] | the time that all processes agree on |
//! | [`live`] | counters that other processes may read |
//! | [`fork_server`], [`backoff`], [`lineage`] | forking workers and their replacements |
//! | [`reaping`], [`process_tree`] | how processes and what they have started end |
//! | [`process`], [`descriptors`], [`mod@file`], [`stack`] | system calls |
//! | [`panics`], [`panic_hook`], [`output`] | what user code does to the process it runs in |
//! | [`limits`], [`machine`] | what the system allows, and what it has |
//! | [`collector`], [`json_lines`], [`profile_run`] | a log that a thread of its own writes; its lines |
//! | [`sync`] | atomics, as the model checkers see them |
//!
//! This package belongs to `mailring`, whose version it has; nothing in it is stable by itself.

pub mod backoff;
pub mod clock;
pub mod collector;
pub mod descriptors;
pub mod file;
pub mod fork_server;
pub mod futex;
pub mod json_lines;
pub mod limits;
pub mod lineage;
pub mod live;
pub mod machine;
pub mod map;
pub mod membarrier;
pub mod neighbours;
pub mod output;
pub mod panic_hook;
pub mod panics;
pub mod parker;
pub mod process;
pub mod process_tree;
pub mod profile_run;
pub mod reach;
pub mod reaping;
pub mod stack;
pub mod sync;
pub mod trial;
pub mod wait;
pub mod wakeup;
