/*
 * mailring: a graph of tasks on forked worker processes of one host, through shared memory.
 *
 * MADE FROM ffi/src/api BY ffi/tests/header.rs; do not edit.
 *
 *     mr_options options;
 *     mr_options_init(&options);
 *     options.workers = 2;
 *     mr_builder_new(&options, &builder);
 *     mr_register(builder, "add", add, NULL, &add_task);      -- int add(args, config, context, user)
 *     mr_build(builder, &exec);                               -- forks the workers
 *     mr_buffer_new(exec, MR_FLOAT32, shape, 1, &buffer);     -- memory that workers see
 *     mr_run_begin(exec, &run);
 *         mr_submission task = {sizeof task, add_task, &tensor, &tag, 1, NULL, 0, NULL, NULL};
 *         mr_submit(run, &task, NULL);                        -- waits for whom, follows from bytes
 *     mr_run_end(run);                                        -- waits for all tasks
 *     mr_executor_close(exec);
 *
 * Link with `pkg-config --cflags --libs mailring`. Complete programs are in ffi/examples.
 *
 * ERRORS. A function returns MR_OK or a negative MR_ERR_ number; mr_last_error() then has a text
 * for the calling thread that names the thing, the limit and the way out. Results go to pointers
 * named out (or by what they hold) and are written only when the function succeeds. A function
 * that fails has changed nothing, unless its comment says otherwise. No panic and no exception
 * leaves this library.
 *
 * HANDLES are the pointers to structures without members (mr_executor, mr_args, ...). They are
 * numbers, not addresses: NULL, closed handles, handles of another kind and any other pointer are
 * recognised and refused with MR_ERR_HANDLE; but what only frees (..._free, ..._close) does nothing
 * at NULL, as free does. What ends a handle is named ..._free, ..._close,
 * mr_build, mr_run_end, mr_run_detach. It may be called while another thread uses the handle: that
 * call goes on to its end. Handles left open are not ended with the program, but their processes
 * are.
 *
 * PLAIN POINTERS are checked for NULL and nothing else: they point to what the type says, for the
 * length of the call (also those inside of structures), in any alignment unless said otherwise.
 * Nothing that is passed in is kept, but the `user` of mr_register. Text is UTF-8 and ends with a
 * zero; text that is returned belongs to the library.
 *
 * STRUCTURES that begin with `size` may grow at their end in later versions: the library takes
 * defaults for what an older program does not know, and refuses (MR_ERR_SIZE) what a newer program
 * sets and it does not know.
 *
 * THREADS. Every function may be called from every thread. Which calls wait for each other is said
 * at each kind of handle.
 *
 * FORK. A child that the program forks by itself has none of its parent's handles: MR_ERR_HANDLE.
 * It can build executors of its own. A child that is to live on should be started before
 * executors are built, or with exec.
 *
 * SIZES are in bytes and times in nanoseconds, unless the name says otherwise.
 */
#ifndef MAILRING_H
#define MAILRING_H


#include <stddef.h>
#include <stdint.h>

/* A program that is linked statically, or that wants other marks, defines these before. */
#ifndef MR_API
#define MR_API __attribute__((visibility("default")))
#endif
#ifndef MR_NODISCARD
#define MR_NODISCARD __attribute__((warn_unused_result))
#endif

/* MAJOR * 10000 + MINOR * 100 + PATCH, for #if. */
#define MR_VERSION (MR_VERSION_MAJOR * 10000 + MR_VERSION_MINOR * 100 + MR_VERSION_PATCH)

/* The element type for double: there is none of its own, and the bits are the same. */
#define MR_FLOAT64 MR_UINT64

// Version of this header: major.
#define MR_VERSION_MAJOR 0

// Version of this header: minor.
#define MR_VERSION_MINOR 1

// Version of this header: patch.
#define MR_VERSION_PATCH 0

// The binary interface that this header describes; mr_abi_version() is that of the library.
#define MR_ABI_VERSION 0

// In has: returned is set.
#define MR_FAILURE_HAS_RETURNED 1

// In has: exit_status is set.
#define MR_FAILURE_HAS_EXIT_STATUS 2

// In has: signal is set.
#define MR_FAILURE_HAS_SIGNAL 4

// Dimensions of a tensor, at most.
#define MR_MAX_DIMS 5

// For heap_bytes and buffer_bytes: none at all.
#define MR_NONE UINT64_MAX

// For timeout_ns: as long as it takes.
#define MR_FOREVER UINT64_MAX

// Tensors that a chip runtime takes, at most.
#define MR_CHIP_MAX_TENSORS 16

// Scalars that a chip runtime takes, at most.
#define MR_CHIP_MAX_SCALARS 128

// How a task ended that did not end well.
typedef enum mr_failure_kind {
    // Its function returned something else than 0.
    MR_FAILURE_ERROR = 0,
    // Its function panicked (functions in Rust).
    MR_FAILURE_PANIC = 1,
    // It took longer than its deadline.
    MR_FAILURE_DEADLINE = 2,
    // Its worker died: a signal, an exit, abort().
    MR_FAILURE_WORKER_DIED = 3,
    // It was cancelled.
    MR_FAILURE_CANCELLED = 4,
    // No worker was left that could run it.
    MR_FAILURE_NO_WORKER = 5,
    // A kind that this header does not know yet.
    MR_FAILURE_OTHER = 99,
} mr_failure_kind;

// The type of the elements of a tensor. MR_FLOAT64, for double, is that of 64-bit words.
typedef enum mr_dtype {
    // 32-bit float.
    MR_FLOAT32 = 0,
    // 16-bit float.
    MR_FLOAT16 = 1,
    // 32-bit integer (also for uint32_t, same bits).
    MR_INT32 = 2,
    // 16-bit integer (also for uint16_t, same bits).
    MR_INT16 = 3,
    // 8-bit integer.
    MR_INT8 = 4,
    // Unsigned 8-bit integer.
    MR_UINT8 = 5,
    // 16-bit brain float.
    MR_BFLOAT16 = 6,
    // 64-bit integer.
    MR_INT64 = 7,
    // Unsigned 64-bit integer (also for double, same bits).
    MR_UINT64 = 8,
} mr_dtype;

// Where workers live.
typedef enum mr_mode {
    // Forked processes: one may die at any instruction, and the rest goes on.
    MR_MODE_PROCESS = 0,
    // Threads of this process: no isolation, and nothing ends a function that hangs.
    MR_MODE_THREAD = 1,
} mr_mode;

// How dependencies follow from bytes.
typedef enum mr_hazards {
    // On every shared byte: read after write, write after write, write after read.
    MR_HAZARDS_STRICT = 0,
    // The tag table of simpler, on base addresses only.
    MR_HAZARDS_COMPATIBLE = 1,
} mr_hazards;

// How workers and the host wait.
typedef enum mr_wait_strategy {
    // Spin briefly, then let others run, then sleep.
    MR_WAIT_ADAPTIVE = 0,
    // Never sleep. Lowest latency, a whole processor for each worker.
    MR_WAIT_SPIN = 1,
    // Sleep at once.
    MR_WAIT_PARK = 2,
} mr_wait_strategy;

// The kind of a worker.
typedef enum mr_worker_kind {
    // Those that tasks go to by default.
    MR_NEXT_LEVEL = 0,
    // Those for host functions beside them.
    MR_SUB = 1,
} mr_worker_kind;

// Which of the ready tasks go first.
typedef enum mr_priority {
    // In the order in which they become ready, roughly.
    MR_PRIORITY_NORMAL = 0,
    // Before all normal tasks that are ready.
    MR_PRIORITY_URGENT = 1,
} mr_priority;

// What a task does with a tensor.
typedef enum mr_tag {
    // Reads it.
    MR_INPUT = 0,
    // Writes all of it without reading. A tensor with address 0 is allocated by the submit, from
    // the heap ring of the innermost scope.
    MR_OUTPUT = 1,
    // Reads and writes it.
    MR_INOUT = 2,
    // Writes all of it without reading; never allocated.
    MR_OUTPUT_EXISTING = 3,
    // Not looked at for dependencies.
    MR_NO_DEP = 4,
} mr_tag;

// What a program of a chip does with an argument.
typedef enum mr_direction {
    // A number, no tensor.
    MR_DIRECTION_SCALAR = 0,
    // A tensor that it reads.
    MR_DIRECTION_IN = 1,
    // A tensor that it writes.
    MR_DIRECTION_OUT = 2,
    // A tensor that it reads and writes.
    MR_DIRECTION_INOUT = 3,
} mr_direction;

// How much is told.
typedef enum mr_log_level {
    // Nothing.
    MR_LOG_OFF = 0,
    // The executor cannot go on.
    MR_LOG_ERROR = 1,
    // A worker died, a task failed, a deadline passed.
    MR_LOG_WARN = 2,
    // Workers started, replaced, ended.
    MR_LOG_INFO = 3,
    // What the supervisor does.
    MR_LOG_DEBUG = 4,
    // All there is.
    MR_LOG_TRACE = 5,
} mr_log_level;

// Arguments of one task: tensors, each with a tag, then scalars. A submit copies them, so one
// mr_args can be cleared and filled again for the next task. (mr_submit takes arrays instead.)
//
// Functions on the same mr_args wait for each other; use one a thread.
typedef struct mr_args mr_args;

// What a replay is given: memory in the place of what was recorded, and other scalars. At first what
// was recorded.
//
// Functions on the same mr_bindings wait for each other; use one a thread.
typedef struct mr_bindings mr_bindings;

// Zeroed shared memory: inputs and results of runs. Every worker sees it at the same address.
//
// All functions on it may be called from several threads at the same time; none waits.
typedef struct mr_buffer mr_buffer;

// What an executor is made from.
typedef struct mr_builder mr_builder;

// Workers, the memory they share with this process, and the ring that tasks go through.
//
// All functions on an executor may be called from several threads at the same time. Runs go one
// after the other: mr_run and mr_run_begin wait until the run before has been closed; everything
// else does not wait.
typedef struct mr_executor mr_executor;

// A detached run. All functions on it may be called from several threads at the same time, and
// none waits for another.
typedef struct mr_pending mr_pending;

// The graph of a run, with whom each task waits for, to be submitted again with other memory and
// other scalars. It belongs to the executor that recorded it.
//
// All functions on it may be called from several threads at the same time; none waits.
typedef struct mr_recording mr_recording;

// A run that is open: tasks can be submitted to it.
//
// Functions on the same run wait for each other: while one thread is in mr_wait, or in a submit
// that waits for room, all others on this run wait as well. (To wait and cancel at the same time,
// detach the run: functions on an mr_pending do not wait for each other.) A run may be used from
// any thread; but a thread that opens a second run of the same executor waits until the first one
// has been closed, so the thread that is to close it must not.
typedef struct mr_run_handle mr_run_handle;

// What a function returns: MR_OK, or one of the MR_ERR_ numbers, which are negative.
typedef int mr_status;

// The task at the root of a failure. Set size to sizeof(mr_failure) and call mr_last_failure.
typedef struct mr_failure {
    // Bytes of this structure, set by the caller.
    size_t size;
    // The task's number.
    uint64_t task;
    // How it ended.
    enum mr_failure_kind kind;
    // In which attempt, from 1.
    uint32_t attempt;
    // On which worker; -1: it had not begun.
    int32_t worker;
    // Which member of its group; -1: it is not a group.
    int32_t member;
    // Its name: its own, or its function's. Valid until the next failing call of this thread.
    const char *name;
    // What was said (for a function: with fail, and the number that it returned), without the rest
    // of mr_last_error. Valid as long as name.
    const char *message;
    // Which of the three numbers below are set: MR_FAILURE_HAS_...
    uint32_t has;
    // What its function returned (of a chip runtime: run_runtime).
    int32_t returned;
    // The exit status of the worker's process, which ended by itself.
    int32_t exit_status;
    // The signal that ended the worker's process.
    int32_t signal;
} mr_failure;

// Where a tensor lies, its shape and its element type; rows are contiguous. 40 bytes.
//
// Fill it with mr_tensor_init, or take it from mr_buffer_tensor, mr_alloc or mr_task_tensor.
// No dimensions mean one element.
typedef struct mr_tensor {
    // Address of the first byte; 0: to be allocated by the submit (MR_OUTPUT only).
    uint64_t data;
    // Elements in each dimension.
    uint32_t shapes[MR_MAX_DIMS];
    // Dimensions in use.
    uint32_t ndims;
    // Element type, MR_FLOAT32 to MR_UINT64.
    uint8_t dtype;
    // Zeros.
    uint8_t padding[7];
} mr_tensor;

// How a callable is to be launched on a device; functions only see it passed on. 12 bytes.
typedef struct mr_call_config {
    // Blocks of a launch. Default 24.
    int32_t block_dim;
    // Control threads of a launch. Default 3.
    int32_t aicpu_thread_num;
    // 1 to profile.
    uint8_t enable_profiling;
    // 1 to dump tensors.
    uint8_t enable_dump_tensor;
    // Zeros.
    uint8_t padding[2];
} mr_call_config;

// Options of an executor. mr_options_init sets all of them to their defaults; a member that is 0
// means its default as well.
typedef struct mr_options {
    // Bytes of this structure; mr_options_init sets it.
    size_t size;
    // What the shared memory is called in /proc/PID/maps. NULL: "mailring".
    const char *name;
    // MR_MODE_PROCESS or MR_MODE_THREAD.
    enum mr_mode mode;
    // MR_HAZARDS_STRICT or MR_HAZARDS_COMPATIBLE.
    enum mr_hazards hazards;
    // MR_WAIT_ADAPTIVE, MR_WAIT_SPIN or MR_WAIT_PARK.
    enum mr_wait_strategy wait;
    // 1: keep each worker on a processor of its own, as far as there are enough.
    uint32_t pin_cpus;
    // Workers of kind MR_NEXT_LEVEL. There must be 1 to 256 workers, both kinds together.
    uint64_t workers;
    // Workers of kind MR_SUB.
    uint64_t sub_workers;
    // Tasks in flight: a power of two from 16 to 65536. 0: 4096.
    uint64_t slot_window;
    // Bytes of each of the four heap rings. 0: 1 GiB (virtual: nothing is touched before use, but
    // more than the machine has left is refused). valgrind looks through all of it when a process
    // ends: use 16 MiB there.
    // MR_NONE: no outputs are allocated.
    uint64_t heap_bytes;
    // Bytes for all buffers together. 0: 1 GiB (as above). MR_NONE: no buffers.
    uint64_t buffer_bytes;
    // Nanoseconds that a submit may wait for room without any progress. 0: as long as it takes.
    uint64_t back_pressure_ns;
    // Nanoseconds that members of a failed group, and running tasks of a closed executor, may go
    // on. 0: one second.
    uint64_t grace_ns;
    // Descriptors of the program that workers keep, under the same numbers. They hold no others but
    // 0 (which is /dev/null), 1 and 2.
    const int *keep_fds;
    // How many.
    size_t keep_fd_count;
    // Nanoseconds that a worker may take to come up: a chip runtime that is loaded, a device that is
    // set. 0: 30 seconds.
    uint64_t start_timeout_ns;
    // Addresses set aside for imported buffers, in bytes; they cost nothing. 0: 16 GiB.
    uint64_t import_bytes;
    // Bytes of stack for the functions of tasks. 0: 8 MiB; at least 128 KiB.
    uint64_t stack_size;
} mr_options;

// A task of an open run: plain data, nothing to free. Useless once the run is closed.
typedef struct mr_task {
    // Its number in the order of submission, over all runs of the executor. Never reused.
    uint64_t id;
    // Of the library.
    uint64_t run;
    // Of the library.
    uint64_t place;
} mr_task;

// Options of a task. Set them with mr_task_options_init first: 0 is not the default of worker.
typedef struct mr_task_options {
    // Bytes of this structure; mr_task_options_init sets it.
    size_t size;
    // What messages call the task, instead of its function's name. NULL: no name of its own.
    const char *name;
    // Which workers may run it: MR_NEXT_LEVEL or MR_SUB.
    enum mr_worker_kind kind;
    // MR_PRIORITY_NORMAL or MR_PRIORITY_URGENT.
    enum mr_priority priority;
    // Only this worker may run it; -1: any of its kind. Workers are counted from 0, first those
    // of kind MR_NEXT_LEVEL.
    int32_t worker;
    // Further attempts, at most 62, when a worker died or was ended over the task; an error that
    // the function returns is final. Needs idempotent or snapshot.
    uint32_t retries;
    // Microseconds that its function may take before it is ended with its worker (THREAD mode:
    // reported when it returns). 0: as long as it takes; at most 2^32 - 1.
    uint64_t deadline_us;
    // 1: running it again over half-written outputs gives the right result.
    uint32_t idempotent;
    // 1: MR_INOUT and MR_OUTPUT_EXISTING ranges are saved before the function and restored before
    // another attempt. Costs a copy of them in the heap ring. Not for groups.
    uint32_t snapshot;
    // Tasks of the same run that this one comes after, besides those that its tensors name; it fails
    // when one of them does. One that is through counts as done, however long ago.
    const struct mr_task *after;
    // How many.
    size_t after_count;
    // The same, however they end: to clean up, or to take turns.
    const struct mr_task *after_any;
    // How many.
    size_t after_any_count;
} mr_task_options;

// The arguments of a task as its function sees them: tensors and scalars in the order in which
// they were added. Tags do not travel. 24 bytes, valid until the function returns.
typedef struct mr_task_args_view {
    // Number of tensors.
    int32_t tensor_count;
    // Number of scalars.
    int32_t scalar_count;
    // The tensors.
    const struct mr_tensor *tensors;
    // The scalars.
    const uint64_t *scalars;
} mr_task_args_view;

// What a task's function can ask and say. Its functions take the context itself:
// context->barrier(context). Valid until the function returns, in its thread.
//
// The functions come as pointers, so a shared object with functions for mr_register_library
// needs to be linked with nothing.
typedef struct mr_task_context {
    // Bytes of this structure. Grows when members are added at the end: compare it before using
    // one that your version of the library may not have.
    size_t size;
    // The task's number.
    uint64_t task;
    // The worker that runs it.
    uint32_t worker;
    // Which attempt, from 1.
    uint32_t attempt;
    // Which member of its group, from 0.
    uint32_t member;
    // Members of its group; 0: it is not a group.
    uint32_t members;
    // 1 when the function should stop: cancelled, over its deadline, or another member of its
    // group failed. What it returns after that is not looked at.
    int (*cancelled)(const struct mr_task_context *context);
    // Waits for all members of the group: 0; -1 when one of them will not come (return then), or
    // there is no group. What members wrote before it is visible to all after it.
    int (*barrier)(const struct mr_task_context *context);
    // Reads word 0 to 7 of the 64 bytes that the members share; they begin as zeros. 0 without a
    // group.
    uint64_t (*load)(const struct mr_task_context *context, uint32_t index);
    // Writes one of those words.
    void (*store)(const struct mr_task_context *context, uint32_t index, uint64_t value);
    // Adds to one of those words; returns the old value.
    uint64_t (*fetch_add)(const struct mr_task_context *context, uint32_t index, uint64_t value);
    // What the error of a function that returns non-zero says besides its number: text in UTF-8,
    // copied; about 1,000 bytes are kept.
    void (*fail)(const struct mr_task_context *context, const char *message);
    // Not for the function.
    const void *call;
} mr_task_context;

// The function of a task. 0: it went well; anything else fails the task.
//
// It runs in a worker process, forked when the executor was built, one task at a time; in THREAD
// mode in a worker thread, so it must be thread-safe there. The bytes that its tensors name are
// shared memory: what it writes there, the host and later tasks see. All other memory is the
// worker's own copy. user is what was given to mr_register; NULL for mr_register_library.
//
// No exception and no longjmp may leave it: the worker dies (in THREAD mode the program).
typedef int (*mr_function)(const struct mr_task_args_view *args,
                           const struct mr_call_config *config,
                           const struct mr_task_context *context,
                           void *user);

// What a task runs: the number that mr_register or mr_register_library returned. It belongs to
// the executor that it was registered for; 0 is never one.
typedef uint64_t mr_callable;

// Counters of an executor since it was built. Set size to sizeof(mr_stats) before the call.
typedef struct mr_stats {
    // Bytes of this structure, set by the caller.
    size_t size;
    // Tasks submitted up to the last closed run, internal fan-in nodes included.
    uint64_t submitted;
    // Functions that workers ran to an end (members of groups count each).
    uint64_t bodies;
    // Workers that died.
    uint64_t deaths;
    // Workers that replaced a dead one.
    uint64_t respawns;
    // Workers that were ended: deadlines, members of failed groups.
    uint64_t kills;
    // Times a worker went to sleep.
    uint64_t sleeps;
    // Ends of superseded attempts: counted, not applied.
    uint64_t superseded;
    // When the last death was noticed, in nanoseconds of CLOCK_MONOTONIC; 0: never.
    uint64_t last_death_ns;
} mr_stats;

// What fills a run: returns 0, or a number that mr_run is to return. It may return the status of
// a function that failed.
//
// No longjmp may leave it; an exception of C++ that leaves it ends the program.
typedef int (*mr_run_body)(struct mr_run_handle *run, void *user);

// A task to submit. Zeros but for size are a task without arguments, with the default
// configuration and options:
//
//     mr_submission task = {sizeof task, callable, tensors, tags, 2, scalars, 1, NULL, NULL};
typedef struct mr_submission {
    // Bytes of this structure, set by the caller.
    size_t size;
    // What to run.
    mr_callable callable;
    // The tensors. NULL when there are none.
    const struct mr_tensor *tensors;
    // What the task does with each of them.
    const enum mr_tag *tags;
    // How many there are of both.
    size_t tensor_count;
    // The scalars. NULL when there are none.
    const uint64_t *scalars;
    // How many.
    size_t scalar_count;
    // NULL: the default.
    const struct mr_call_config *config;
    // NULL: the default.
    const struct mr_task_options *options;
} mr_submission;

// The arguments of a task as a chip runtime takes them. 1672 bytes.
typedef struct mr_chip_args {
    // The tensors; only the first tensor_count are meant.
    struct mr_tensor tensors[MR_CHIP_MAX_TENSORS];
    // The scalars; only the first scalar_count are meant.
    uint64_t scalars[MR_CHIP_MAX_SCALARS];
    // Number of tensors.
    int32_t tensor_count;
    // Number of scalars.
    int32_t scalar_count;
} mr_chip_args;

// A chip as a host sees it. Nothing is opened before a worker starts.
typedef struct mr_chip_runtime {
    // Bytes of this structure, set by the caller.
    size_t size;
    // The host runtime: a shared object with the six functions of mailring_host_runtime.h. A path
    // without a slash is looked for where the system keeps its libraries.
    const char *host_runtime;
    // A file for the control processors, handed to the runtime with every call. NULL: none.
    const char *aicpu;
    // A file for the compute cores, likewise. NULL: none.
    const char *aicore;
    // A shared object that is loaded before the runtime, with its symbols visible to all. NULL: none.
    const char *sim_context;
    // The devices: one worker of kind MR_NEXT_LEVEL for each, in this order.
    const int32_t *devices;
    // How many.
    size_t device_count;
} mr_chip_runtime;

// A kernel of a program of a chip.
typedef struct mr_chip_kernel {
    // The number by which the program launches it.
    int32_t func_id;
    // Zero.
    uint32_t padding;
    // What it does with its arguments. NULL when that is not said.
    const enum mr_direction *signature;
    // How many there are, at most 16.
    size_t signature_count;
    // The file with its binary.
    const char *file;
} mr_chip_kernel;

// A program of a chip, which tasks can name. Files are read when it is registered.
typedef struct mr_chip_program {
    // Bytes of this structure, set by the caller.
    size_t size;
    // The function of the binary that orchestrates.
    const char *function;
    // The function that configures it. NULL: none.
    const char *config_function;
    // What it does with its arguments. NULL when that is not said.
    const enum mr_direction *signature;
    // How many there are, at most 16.
    size_t signature_count;
    // The file with the binary that orchestrates.
    const char *file;
    // Its kernels.
    const struct mr_chip_kernel *kernels;
    // How many.
    size_t kernel_count;
} mr_chip_program;

// Is told one thing: a line of text without a newline, good for the length of the call. Called by
// any thread of the host, by several at the same time; never in a worker process. It must return
// soon, must not call mr_set_log, and what other functions of this library it calls tell nothing.
typedef void (*mr_log_fn)(enum mr_log_level level, const char *message, void *user);

// All went well.
#define MR_OK 0

// A fault of this library: it panicked. The text says where; the handle can be closed.
#define MR_ERR_PANIC -1

// A handle is NULL, was closed, is of another kind, or was made before a fork.
#define MR_ERR_HANDLE -2

// A pointer is NULL that must not be.
#define MR_ERR_NULL -3

// A number or text that is not possible here.
#define MR_ERR_ARGUMENT -4

// The size member of a structure is wrong, or what lies behind the known part is not zero.
#define MR_ERR_SIZE -5

// An array of the caller is too short for the result; the text says what is needed.
#define MR_ERR_CAPACITY -6

// There is nothing of that kind: no failed task, no writer.
#define MR_ERR_NOT_FOUND -7

// Building: no workers, or too many.
#define MR_ERR_WORKERS -10

// An invalid size of a ring, or a ring that is smaller than what was asked for.
#define MR_ERR_RING -11

// No memory: building, more than the machine has left; otherwise, none for what the call needs.
#define MR_ERR_MEMORY -12

// Building: a name was registered twice.
#define MR_ERR_DUPLICATE -13

// A system call failed.
#define MR_ERR_SYSTEM -14

// Building: a worker did not start.
#define MR_ERR_WORKER_START -15

// A task failed; mr_last_failure tells which and how.
#define MR_ERR_TASK -20

// Arguments or a tensor that are invalid, as the text says.
#define MR_ERR_ARGS -21

// More argument bytes than one submit takes.
#define MR_ERR_ARGS_TOO_LARGE -22

// A tensor that no worker could reach: NULL, or outside of buffers and outputs.
#define MR_ERR_ADDRESS -23

// A group without members, or larger than its pool of workers.
#define MR_ERR_GROUP -24

// There is no such worker, or none of that kind.
#define MR_ERR_WORKER -25

// The callable is not a registered function.
#define MR_ERR_FUNCTION -26

// The library or the symbol of a function could not be loaded.
#define MR_ERR_LIBRARY -27

// Options of a task that contradict each other.
#define MR_ERR_OPTIONS -28

// Scopes too deep, or the end of one that is not open.
#define MR_ERR_SCOPE -29

// There is no room now, and the function does not wait.
#define MR_ERR_WOULD_BLOCK -30

// Waiting would never end: only the caller itself could free the space.
#define MR_ERR_HEAP_DEADLOCK -31

// The back-pressure time-out has passed.
#define MR_ERR_BACK_PRESSURE -32

// An mr_task of another run, or an output that was not allocated.
#define MR_ERR_TASK_HANDLE -33

// Buffer space is used up.
#define MR_ERR_BUFFER_SPACE -34

// Called in a place where it cannot work.
#define MR_ERR_MISUSE -35

// The executor cannot go on, or was closed during the call. Build a new one.
#define MR_ERR_FAILED -36

// A body that was called by hand returned an error.
#define MR_ERR_BODY -37

// A descriptor that is not mappable, or is shorter than the buffer over it.
#define MR_ERR_IMPORT -38

// The time that the caller gave has passed.
#define MR_ERR_TIMEOUT -39

// A recording or bindings that are invalid, as the text says.
#define MR_ERR_REPLAY -40

// Another error; the text says which.
#define MR_ERR_OTHER -99

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of the library, such as "0.1.0". Never NULL; valid for ever.
MR_API const char *mr_version(void);

// The binary interface of the library. A program whose MR_ABI_VERSION differs must not go on.
MR_API uint32_t mr_abi_version(void);

// The name of a status, such as "MR_ERR_TASK"; "unknown status" for other numbers. Never NULL;
// valid for ever.
MR_API const char *mr_status_name(mr_status status);

// What the last failing call of this thread had to say: the thing, the limit, the way out, in
// UTF-8. Never NULL; empty before the first error. Valid until the next failing call of this
// thread; calls that succeed leave it as it is.
MR_API const char *mr_last_error(void);

// The task behind the last error of this thread, if that was MR_ERR_TASK.
//
// MR_ERR_NOT_FOUND: it was not. This function leaves mr_last_error as it is in every case but
// that of a bad out.
MR_API MR_NODISCARD mr_status mr_last_failure(struct mr_failure *out);

// Describes ndims dimensions of elements of type dtype at data (NULL: to be allocated by the
// submit). No memory is made or touched.
//
// MR_ERR_ARGS: more bytes than 64 bits can count.
MR_API
MR_NODISCARD
mr_status mr_tensor_init(struct mr_tensor *out,
                         const void *data,
                         enum mr_dtype dtype,
                         const uint32_t *shape,
                         size_t ndims);

// The number of bytes that a tensor names.
MR_API MR_NODISCARD mr_status mr_tensor_bytes(const struct mr_tensor *tensor, uint64_t *out);

// The default configuration of a call. A NULL configuration means the same.
MR_API mr_status mr_call_config_init(struct mr_call_config *out);

// Sets all options to their defaults, and size.
MR_API mr_status mr_options_init(struct mr_options *out);

// Sets all options of a task to their defaults, and size. NULL options mean the same.
MR_API mr_status mr_task_options_init(struct mr_task_options *out);

// Begins an executor with these options (not NULL: it needs workers).
//
// End it with mr_build, or with mr_builder_free.
MR_API
MR_NODISCARD
mr_status mr_builder_new(const struct mr_options *options,
                         struct mr_builder **out);

// Registers a function under a name that no other has; *out is what to submit.
//
// user is passed to every call, and is the caller's own (see mr_register_with). Workers are forked in mr_build, so what user points to is what
// it was then, each worker with its own copy; in THREAD mode it is the very thing, and it must
// live until the executor is closed.
//
// MR_ERR_DUPLICATE: the name is taken.
MR_API
MR_NODISCARD
mr_status mr_register(struct mr_builder *builder,
                      const char *name,
                      mr_function function,
                      void *user,
                      mr_callable *out);

// The same with a function that ends user: it is called once, in this process, when the executor
// has been closed or the builder freed, and no function is called any more. Not when this function
// fails.
MR_API
MR_NODISCARD
mr_status mr_register_with(struct mr_builder *builder,
                           const char *name,
                           mr_function function,
                           void *user,
                           void (*destroy)(void *user),
                           mr_callable *out);

// Maps the shared memory, forks the workers (or starts their threads), and waits until all are
// ready. The builder is used up, also by an error, unless that is MR_ERR_HANDLE or MR_ERR_NULL.
//
// Build early: beside other threads of the program, functions that take a lock which one of them
// holds at this moment would wait for ever in the workers. Flush stdio before: a worker has what
// was not written yet as well, and its exit() would write it again and run the program's atexit
// handlers (in a function, use _exit or abort to end a worker, and fflush what it prints).
MR_API MR_NODISCARD mr_status mr_build(struct mr_builder *builder, struct mr_executor **out);

// Ends a builder that was not built. NULL does nothing.
MR_API mr_status mr_builder_free(struct mr_builder *builder);

// Closes an executor: cancels what has not begun, gives what runs its grace (once), ends all
// workers. NULL does nothing. A thread that waits in mr_run or mr_run_begin returns with
// MR_ERR_FAILED. Waiting for an open or detached run of it gives an error: MR_ERR_TASK where tasks
// were cancelled, or MR_ERR_FAILED. Submitting gives MR_ERR_FAILED. Buffers stay readable until they
// are freed.
//
// When another thread is inside a function on this executor, the workers end with the end of that
// call, and this function returns before.
//
// MR_ERR_MISUSE: called by the function of a task (THREAD mode; in PROCESS mode a worker does not have
// the handle). Nothing is closed then.
MR_API
mr_status mr_executor_close(struct mr_executor *exec);

// The same when all tasks of all runs are through, detached ones included; what is not through after
// timeout_ns nanoseconds (MR_FOREVER: as long as it takes) is cancelled as by mr_executor_close.
// The executor is closed in every case but those of MR_ERR_HANDLE and MR_ERR_MISUSE at once.
//
// MR_ERR_TIMEOUT: tasks were not through, which the text names. MR_ERR_MISUSE: a run was open
// still when the time had passed. How tasks ended is told by mr_pending_wait.
MR_API
MR_NODISCARD
mr_status mr_executor_close_for(struct mr_executor *exec,
                                uint64_t timeout_ns);

// The number of workers of a kind (MR_NEXT_LEVEL, MR_SUB).
MR_API
MR_NODISCARD
mr_status mr_executor_workers(struct mr_executor *exec,
                              enum mr_worker_kind kind,
                              size_t *out);

// The process ids of all workers, in their order; zeros in THREAD mode and for a worker that is
// being replaced. At most capacity of them are written to pids (which may be NULL); *count is
// how many there are.
MR_API
MR_NODISCARD
mr_status mr_executor_pids(struct mr_executor *exec,
                           uint32_t *pids,
                           size_t capacity,
                           size_t *count);

// Whether a worker is inside the function of a task at this moment: 1 or 0.
MR_API MR_NODISCARD mr_status mr_executor_busy(struct mr_executor *exec, uint32_t worker, int *out);

// Counters since the executor was built.
MR_API MR_NODISCARD mr_status mr_executor_stats(struct mr_executor *exec, struct mr_stats *out);

// Registers function symbol (an mr_function, called with a NULL user) of the shared object at
// path while workers run. Each worker loads it with the first task that names it; what loading
// it says is the error of that task.
//
// The function is known by what is in the file: the same content and symbol give the same
// callable, and a file that was changed since is refused by the workers.
//
// MR_ERR_LIBRARY: the file cannot be read, is not a shared object, or does not have the symbol;
// 512 are registered.
MR_API
MR_NODISCARD
mr_status mr_register_library(struct mr_executor *exec,
                              const char *path,
                              const char *symbol,
                              mr_callable *out);

// Takes a function that was registered after the start back: it cannot be submitted any more.
// Tasks that were submitted before run it.
MR_API MR_NODISCARD mr_status mr_unregister(struct mr_executor *exec, mr_callable callable);

// Zeroed shared memory for a tensor of this shape and type, at a multiple of 64 bytes.
//
// MR_ERR_BUFFER_SPACE: the buffer space is used up.
MR_API
MR_NODISCARD
mr_status mr_buffer_new(struct mr_executor *exec,
                        enum mr_dtype dtype,
                        const uint32_t *shape,
                        size_t ndims,
                        struct mr_buffer **out);

// A tensor of this shape and type in memory that others share as well: the first bytes of a memfd,
// or of any file that can be mapped shared, readable and writable. The descriptor stays the
// caller's own, and may be closed right after. Workers map it once, with the first task that
// names it.
//
// A memfd that allows it is sealed against shrinking. Nobody may make another file shorter while
// the buffer is there: whoever touches the missing bytes dies of SIGBUS.
//
// MR_ERR_IMPORT: the file is shorter than the tensor, or cannot be mapped. MR_ERR_BUFFER_SPACE: no
// addresses are left for such buffers, or too many are there.
MR_API
MR_NODISCARD
mr_status mr_buffer_import(struct mr_executor *exec,
                           int fd,
                           enum mr_dtype dtype,
                           const uint32_t *shape,
                           size_t ndims,
                           struct mr_buffer **out);

// The whole buffer as a tensor. For a part of it, use mr_tensor_init with an address inside.
MR_API MR_NODISCARD mr_status mr_buffer_tensor(struct mr_buffer *buffer, struct mr_tensor *out);

// The first byte, and the number of bytes (bytes may be NULL). The memory may be read and written
// by the host until the buffer is freed; while an unfinished task writes the same bytes, that
// gives torn values. In a child that the program forks by itself the address is not mapped.
MR_API MR_NODISCARD mr_status mr_buffer_data(struct mr_buffer *buffer, void **data, size_t *bytes);

// Frees a buffer. Tasks that name it are not disturbed: the memory is used again only when the
// last of them is through. NULL does nothing.
MR_API mr_status mr_buffer_free(struct mr_buffer *buffer);

// No arguments.
MR_API MR_NODISCARD mr_status mr_args_new(struct mr_args **out);

// Ends them. NULL does nothing.
MR_API mr_status mr_args_free(struct mr_args *args);

// Forgets all tensors and scalars.
MR_API MR_NODISCARD mr_status mr_args_clear(struct mr_args *args);

// Adds a tensor (copied) and what the task does with it, MR_INPUT to MR_NO_DEP.
//
// MR_ERR_ARGS: a scalar was added before; the tensor has too many dimensions, no element type, or
// too many bytes. MR_ERR_MEMORY: there is none for it. Nothing is added then.
MR_API
MR_NODISCARD
mr_status mr_args_add_tensor(struct mr_args *args,
                             const struct mr_tensor *tensor,
                             enum mr_tag tag);

// Adds a scalar.
//
// MR_ERR_MEMORY: there is none for it. Nothing is added then.
MR_API MR_NODISCARD mr_status mr_args_add_scalar(struct mr_args *args, uint64_t scalar);

// How many tensors and scalars there are. Either pointer may be NULL.
MR_API
MR_NODISCARD
mr_status mr_args_count(const struct mr_args *args,
                        size_t *tensors,
                        size_t *scalars);

// Opens a run, lets body fill it, closes it, and waits for all its tasks.
//
// Returns what body returned, if that is not 0 (its tasks are waited for all the same); otherwise
// MR_OK, or MR_ERR_TASK with the first task, in the order of submission, at the root of a failure.
// The run is body's until it returns; body can neither end nor detach it.
//
// Waits until no other run of this executor is open. MR_ERR_MISUSE: this thread has one open.
MR_API MR_NODISCARD mr_status mr_run(struct mr_executor *exec, mr_run_body body, void *user);

// Opens a run that is closed by mr_run_end or mr_run_detach. Waits until no other run of this
// executor is open.
//
// MR_ERR_MISUSE: this thread has one open. MR_ERR_FAILED: the executor was closed meanwhile.
MR_API MR_NODISCARD mr_status mr_run_begin(struct mr_executor *exec, struct mr_run_handle **out);

// The same, at most for timeout_ns nanoseconds.
//
// MR_ERR_TIMEOUT: another run is open still.
MR_API
MR_NODISCARD
mr_status mr_run_begin_for(struct mr_executor *exec,
                           uint64_t timeout_ns,
                           struct mr_run_handle **out);

// Closes a run and waits for all its tasks. The handle is used up, also by an error.
//
// MR_ERR_TASK: the first task, in the order of submission, at the root of a failure.
MR_API MR_NODISCARD mr_status mr_run_end(struct mr_run_handle *run);

// The same, at most for timeout_ns nanoseconds. When the time has passed, that is MR_OK as well,
// and *finished (which may be NULL) is 0: nothing more can be submitted to the run, its tasks go on,
// and the handle stays, to be given to this function, mr_run_end or mr_run_detach again. Otherwise
// *finished is 1, and the handle is used up.
MR_API
MR_NODISCARD
mr_status mr_run_end_for(struct mr_run_handle *run,
                         uint64_t timeout_ns,
                         int *finished);

// Closes a run without waiting; its tasks go on. The handle is used up; *out is to wait with.
MR_API MR_NODISCARD mr_status mr_run_detach(struct mr_run_handle *run, struct mr_pending **out);

// Opens a scope. Outputs made in it can be reclaimed once it has closed and the tasks that name
// them are through. Scopes of a run end with it.
//
// MR_ERR_SCOPE: 64 are open, the run's own included.
MR_API MR_NODISCARD mr_status mr_scope_begin(struct mr_run_handle *run);

// Closes the scope that was opened last. Does not wait.
//
// MR_ERR_SCOPE: none is open but the run's own.
MR_API MR_NODISCARD mr_status mr_scope_end(struct mr_run_handle *run);

// Cancels every task that was submitted in the innermost scope, scopes inside it included.
// *cancelled (which may be NULL) is how many had not completed.
MR_API MR_NODISCARD mr_status mr_cancel_scope(struct mr_run_handle *run, uint64_t *cancelled);

// Waits for a task of this run.
//
// MR_ERR_TASK: it failed, or a task failed that it depends on; mr_last_failure names the root.
MR_API MR_NODISCARD mr_status mr_wait(struct mr_run_handle *run, const struct mr_task *task);

// The same, at most for timeout_ns nanoseconds. *finished (which may be NULL) is 1, or 0 when the
// time has passed, which is MR_OK as well.
//
// MR_ERR_TASK: as mr_wait; *finished is 1.
MR_API
MR_NODISCARD
mr_status mr_wait_for(struct mr_run_handle *run,
                      const struct mr_task *task,
                      uint64_t timeout_ns,
                      int *finished);

// Whether a task of this run has failed so far: 1 or 0. Does not wait: what is not through yet may
// still fail.
MR_API MR_NODISCARD mr_status mr_run_failed(struct mr_run_handle *run, int *out);

// Cancels a task unless it has completed: it never begins, or its function sees it in
// context->cancelled. Tasks that read what it writes fail with it. *open (which may be NULL) is 1
// when it had not completed.
MR_API
MR_NODISCARD
mr_status mr_cancel(struct mr_run_handle *run,
                    const struct mr_task *task,
                    int *open);

// Submits a task to an open run. Waits while the rings are full; otherwise returns at once.
//
// It runs when all earlier tasks that it has to wait for, by the bytes that its tensors name, are
// through. What task points to is copied. out may be NULL, for a task that is never named; a
// million tasks that are named take 32 MB until the run is closed.
//
// Bad arguments (MR_ERR_ARGS, MR_ERR_ADDRESS, MR_ERR_FUNCTION, MR_ERR_WORKER, MR_ERR_OPTIONS), a
// request that can never fit (MR_ERR_RING, MR_ERR_ARGS_TOO_LARGE), a wait that could never end
// (MR_ERR_HEAP_DEADLOCK) or took too long (MR_ERR_BACK_PRESSURE): nothing is submitted then.
MR_API
MR_NODISCARD
mr_status mr_submit(struct mr_run_handle *run,
                    const struct mr_submission *task,
                    struct mr_task *out);

// Submits a task with arguments that were put together one by one. As mr_submit; config and
// options may be NULL: the defaults.
MR_API
MR_NODISCARD
mr_status mr_submit_args(struct mr_run_handle *run,
                         mr_callable callable,
                         const struct mr_args *args,
                         const struct mr_call_config *config,
                         const struct mr_task_options *options,
                         struct mr_task *out);

// Submits one task with a member for each of args[0] to args[count - 1], run by different workers
// at the same time. Members meet at context->barrier and share 64 bytes. The same mr_args may be
// given several times. Deadline and retries count for the group as a whole.
//
// As mr_submit; MR_ERR_GROUP: no members, or more than there are workers of that kind.
MR_API
MR_NODISCARD
mr_status mr_submit_group(struct mr_run_handle *run,
                          mr_callable callable,
                          const struct mr_args *const *args,
                          size_t count,
                          const struct mr_call_config *config,
                          const struct mr_task_options *options,
                          struct mr_task *out);

// Tensor argument index of a task (members of a group one after the other) with the address that
// the submit gave it. Its bytes live until the scope it was submitted in has closed and every
// task that names them is through; the host may read them once mr_wait says that they are written.
//
// MR_ERR_TASK_HANDLE: that argument was not allocated by the submit.
MR_API
MR_NODISCARD
mr_status mr_task_tensor(struct mr_run_handle *run,
                         const struct mr_task *task,
                         size_t index,
                         struct mr_tensor *out);

// Memory in the heap ring of the innermost scope, not yet written by anybody. It lives until the
// scope has closed and every task that names it is through. Waits while the ring is full.
MR_API
MR_NODISCARD
mr_status mr_alloc(struct mr_run_handle *run,
                   enum mr_dtype dtype,
                   const uint32_t *shape,
                   size_t ndims,
                   struct mr_tensor *out);

// Whether every task of the run is through, well or not: 1 or 0. Does not wait. After its executor
// was closed, or has failed, it is 1: nothing will happen any more.
MR_API MR_NODISCARD mr_status mr_pending_done(struct mr_pending *pending, int *out);

// Waits for all tasks of the run, at most for timeout_ns nanoseconds (MR_FOREVER: as long as it
// takes). *finished (which may be NULL) is 1, or 0 when the time has passed, which is MR_OK as
// well.
//
// MR_ERR_TASK: all are through (*finished is 1), and this is the first root of a failure. Says so
// each time.
MR_API
MR_NODISCARD
mr_status mr_pending_wait(struct mr_pending *pending,
                          uint64_t timeout_ns,
                          int *finished);

// A descriptor that becomes readable when mr_pending_done says 1, and stays so: for poll, select and
// epoll. Nothing is to be read from it or written to it. It belongs to the library, is the same each
// time, and ends with mr_pending_free.
//
// MR_ERR_SYSTEM: no descriptor is left.
MR_API
MR_NODISCARD
mr_status mr_pending_fd(struct mr_pending *pending,
                        int *out);

// Whether a task of the run has failed so far: 1 or 0. Does not wait: what is not through yet may
// still fail.
MR_API MR_NODISCARD mr_status mr_pending_failed(struct mr_pending *pending, int *out);

// Cancels what has not completed: tasks that have not begun never will, the functions of running
// ones see it in context->cancelled. *cancelled (which may be NULL) is how many there were. Does
// not wait for them.
MR_API MR_NODISCARD mr_status mr_pending_cancel(struct mr_pending *pending, uint64_t *cancelled);

// Frees the handle; the tasks go on. NULL does nothing.
MR_API mr_status mr_pending_free(struct mr_pending *pending);

// Opens a run, lets body fill it, waits for all its tasks, and records them: as mr_run. What body does
// besides submitting (waiting, cancelling) is not recorded; scopes, groups, allocated outputs and
// options are.
//
// MR_ERR_REPLAY: a task names memory of a scope that had closed. *out is only set with MR_OK.
MR_API
MR_NODISCARD
mr_status mr_record(struct mr_executor *exec,
                    mr_run_body body,
                    void *user,
                    struct mr_recording **out);

// Frees a recording; replays of it go on. NULL does nothing.
MR_API mr_status mr_recording_free(struct mr_recording *recording);

// How many tasks it has, and how many pieces of memory it names. Either pointer may be NULL.
MR_API
MR_NODISCARD
mr_status mr_recording_count(struct mr_recording *recording,
                             size_t *tasks,
                             size_t *memory);

// The number in the recording, from 0, of a task that its body submitted.
//
// MR_ERR_NOT_FOUND: it is no task of the recorded run.
MR_API
MR_NODISCARD
mr_status mr_recording_index(struct mr_recording *recording,
                             const struct mr_task *task,
                             size_t *out);

// The memory and the scalars that were recorded, to be replaced.
MR_API
MR_NODISCARD
mr_status mr_bindings_new(struct mr_recording *recording,
                          struct mr_bindings **out);

// Ends them. NULL does nothing.
MR_API mr_status mr_bindings_free(struct mr_bindings *bindings);

// Puts a tensor in the place of a piece of memory, counted from 0 in the order of first use. Pieces are
// whole buffers; the first byte of the tensor takes the place of the first byte of the buffer.
//
// MR_ERR_REPLAY: there is no such piece, or tasks name more of it than the tensor has. Nothing is
// changed then.
MR_API
MR_NODISCARD
mr_status mr_bindings_memory(struct mr_bindings *bindings,
                             size_t memory,
                             const struct mr_tensor *tensor);

// The same for the piece in which the recorded tensor lay.
//
// MR_ERR_REPLAY: as mr_bindings_memory.
MR_API
MR_NODISCARD
mr_status mr_bindings_replace(struct mr_bindings *bindings,
                              const struct mr_tensor *recorded,
                              const struct mr_tensor *tensor);

// Another value of a scalar of a task, both counted from 0; scalars of the members of a group one
// after the other.
//
// MR_ERR_REPLAY: there is no such task, or it has no such scalar.
MR_API
MR_NODISCARD
mr_status mr_bindings_scalar(struct mr_bindings *bindings,
                             size_t task,
                             size_t scalar,
                             uint64_t value);

// Submits the tasks of a recording to an open run, in its innermost scope, without finding out again
// whom each waits for. bindings may be NULL: what was recorded. tasks may be NULL; otherwise it gets
// the first count tasks of the replay.
//
// MR_ERR_REPLAY: a recording, or bindings, of another executor or recording; a buffer that is gone;
// two pieces of memory that share bytes, which a task writes, and did not when they were recorded;
// count is larger than the recording. As mr_submit where a function or a worker is gone or the host
// holds a buffer: nothing is submitted then. As mr_submit where no room can be made: tasks
// before that were submitted.
MR_API
MR_NODISCARD
mr_status mr_replay(struct mr_run_handle *run,
                    struct mr_recording *recording,
                    struct mr_bindings *bindings,
                    struct mr_task *tasks,
                    size_t count);

// Runs a recording: opens a run, replays, closes it, and waits for all its tasks. bindings may be NULL:
// what was recorded.
//
// MR_ERR_REPLAY: as mr_replay. MR_ERR_TASK: as mr_run_end.
MR_API
MR_NODISCARD
mr_status mr_run_recording(struct mr_executor *exec,
                           struct mr_recording *recording,
                           struct mr_bindings *bindings);

// Bytes of the blob of these arguments:
//
//     | tensors i32 | scalars i32 | tensor 0 (40 bytes) ... | scalar 0 (8 bytes) ... |
MR_API MR_NODISCARD mr_status mr_blob_size(const struct mr_args *args, size_t *out);

// Writes the blob of these arguments to buffer, which has room for capacity bytes. *written is
// its length.
//
// MR_ERR_CAPACITY: it does not fit; the text says how long it is. Nothing is written then.
MR_API
MR_NODISCARD
mr_status mr_blob_write(const struct mr_args *args,
                        void *buffer,
                        size_t capacity,
                        size_t *written);

// Checks the blob in the len bytes at blob, an address that is a multiple of 8, and describes it
// in *out without copying: *out is good for as long as those bytes stay as they are. The
// addresses inside the tensors are not looked at.
//
// MR_ERR_ARGS: these bytes are no blob.
MR_API
MR_NODISCARD
mr_status mr_blob_read(const void *blob,
                       size_t len,
                       struct mr_task_args_view *out);

// Writes what the view describes to *out, as a chip runtime takes it: 40 bytes a tensor, 8 a
// scalar, and the two counts. What is behind them stays as it was.
//
// MR_ERR_ARGS: more than 16 tensors or 128 scalars, or a negative number of them. Nothing is written
// then.
MR_API
MR_NODISCARD
mr_status mr_view_to_chip_args(const struct mr_task_args_view *view,
                               struct mr_chip_args *out);

// Calls the function of a task here and now, on arguments in their encoded form and outside of
// any run: as task 0 on worker 0, never cancelled, in no group. config may be NULL.
//
// MR_ERR_ARGS: these bytes are no blob. MR_ERR_BODY: the function returned something else than 0.
MR_API
MR_NODISCARD
mr_status mr_run_from_blob(mr_function function,
                           void *user,
                           const void *blob,
                           size_t len,
                           const struct mr_call_config *config);

// Makes the workers of kind MR_NEXT_LEVEL drive chips: one for each device, in its own process (in
// THREAD mode there can be one device), where it loads the runtime and takes its device. Instead of
// workers in mr_options. How long that may take is start_timeout_ns there.
//
// MR_ERR_MISUSE: this builder has chips already. What else is wrong is the error of mr_build.
MR_API
MR_NODISCARD
mr_status mr_builder_chips(struct mr_builder *builder,
                           const struct mr_chip_runtime *runtime);

// Adds a program of the chips under a name that no other has; *out is what to submit, to workers of
// kind MR_NEXT_LEVEL. After mr_builder_chips.
//
// MR_ERR_ARGS: a file cannot be read, or something is too long. MR_ERR_DUPLICATE: the name is taken.
// MR_ERR_MISUSE: the builder has no chips.
MR_API
MR_NODISCARD
mr_status mr_register_chip(struct mr_builder *builder,
                           const char *name,
                           const struct mr_chip_program *program,
                           mr_callable *out);

// Lets function be told what the library does, up to level; NULL or MR_LOG_OFF: nobody is. user is
// passed to every call. What was set before is not called any more when this returns.
//
// MR_ERR_MISUSE: called by such a function; or the program has a subscriber of Rust's own.
MR_API MR_NODISCARD mr_status mr_set_log(enum mr_log_level level, mr_log_fn function, void *user);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#ifdef __cplusplus
extern "C" {
#endif

// In the function of a task: the first byte of tensor index; NULL when there is no such tensor.
static inline void *mr_view_data(const mr_task_args_view *args, int32_t index) {
    if (index < 0 || index >= args->tensor_count) {
        return NULL;
    }
    return (void *)(uintptr_t)args->tensors[index].data;
}

// In the function of a task: the elements of tensor index; 0 when there is no such tensor.
static inline uint64_t mr_view_elements(const mr_task_args_view *args, int32_t index) {
    uint64_t count = 1;
    uint32_t i;
    if (index < 0 || index >= args->tensor_count) {
        return 0;
    }
    for (i = 0; i < args->tensors[index].ndims && i < MR_MAX_DIMS; i++) {
        count *= args->tensors[index].shapes[i];
    }
    return count;
}

#ifdef __cplusplus
}
#endif

#endif  /* MAILRING_H */
