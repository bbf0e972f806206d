//! Every bound of the crate, in one place.
//!
//! A limit that a message names is the constant here; nothing else in the crate
//! repeats its value.

/// Dimensions of a tensor, at most (fixed by the byte layout of `ContinuousTensor`).
pub const MAX_DIMS: usize = 5;
/// Open scopes, one inside the other, at most.
pub const MAX_SCOPE_DEPTH: usize = 64;
/// Heap rings of an executor: scope depths 0, 1, 2 have one each, all deeper ones share the last.
pub const HEAP_RINGS: usize = 4;
/// Every slab begins at a multiple of this many bytes.
pub const HEAP_ALIGN: usize = 1024;
/// Bytes of one heap ring unless the builder says otherwise (virtual; nothing is touched before use).
pub const DEFAULT_HEAP_BYTES: usize = 1 << 30;
/// Bytes for [`Buffer`](crate::Buffer)s unless the builder says otherwise (virtual as well).
pub const DEFAULT_BUFFER_BYTES: usize = 1 << 30;
/// Workers of both kinds together, at most.
pub const MAX_WORKERS: usize = 256;
/// Task slots in flight unless the builder says otherwise.
pub const DEFAULT_WINDOW: usize = 1 << 12;
/// The smallest slot window.
pub const MIN_WINDOW: usize = 16;
/// The largest slot window.
pub const MAX_WINDOW: usize = 1 << 16;
/// Producers that one fan-in word can name; more are joined through extra slots.
pub const MAX_FAN_IN: usize = 47;
/// Edges for each slot of the window.
pub const EDGES_PER_SLOT: usize = 4;
/// Arguments of a single task that fit into the slot itself, in bytes.
pub const INLINE_ARGS: usize = 224;
/// Bytes of the ring that carries larger arguments and those of groups.
pub const PAYLOAD_BYTES: usize = 8 << 20;
/// The arguments of one submit, all members together, at most. Two fit the ring at any offset.
pub const MAX_ARGS_BYTES: usize = PAYLOAD_BYTES / 4;
/// Bytes that the members of a group share besides their tensors.
pub const GROUP_SHARED_BYTES: usize = 64;
/// Bytes of error text that one attempt of a task can hand back; longer text is cut.
pub const ERROR_TEXT: usize = 1000;
/// Tasks that a worker runs as successors of each other before it looks at its directed tasks
/// again.
pub const MAX_CHAIN: u32 = 64;
/// Functions registered after the start that can be known at the same time.
pub const MAX_DYNAMIC_FUNCTIONS: usize = 512;
/// Addresses for memory that comes after the fork, unless the builder says otherwise.
pub const DEFAULT_IMPORT_BYTES: usize = 16 << 30;
/// Buffers over memory that came after the fork, at the same time.
pub const MAX_IMPORTS: usize = 256;
/// Attempts of one task, at most (the attempt field of the state word has six bits).
pub const MAX_ATTEMPTS: u32 = 63;
/// Root errors of one run that are kept with their text; further ones are counted.
pub const MAX_ROOT_ERRORS: usize = 64;
/// Tensors that a chip runtime takes (fixed by the byte layout of `ChipStorageTaskArgs`).
pub const CHIP_MAX_TENSOR_ARGS: usize = 16;
/// Scalars that a chip runtime takes (fixed by the byte layout of `ChipStorageTaskArgs`).
pub const CHIP_MAX_SCALAR_ARGS: usize = 128;
/// Entries of a callable's signature (fixed by the byte layout of callables).
pub const MAX_SIGNATURE: usize = 16;
/// Core callables that a chip callable carries (fixed by its byte layout).
pub const MAX_CHILDREN: usize = 32;
/// Bytes of a name in a chip callable, with the NUL at its end.
pub const CALLABLE_NAME_BYTES: usize = 64;
/// Callables, and the payload in them, begin at a multiple of this many bytes.
pub const CALLABLE_ALIGN: usize = 64;
/// Bytes of a shared object whose functions are registered after the start, and of a binary that a
/// chip runtime is handed.
pub const MAX_FILE_BYTES: u64 = 1 << 30;
