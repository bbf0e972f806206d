/* Every function with what it must refuse: NULL, closed, foreign and made-up handles; NULL pointers;
 * numbers that cannot be. What is refused changes nothing, and nothing crashes. */
#include "check.h"

enum { BUILDER, EXECUTOR, RUN, PENDING, BUFFER, ARGS, RECORDING, BINDINGS, KINDS };

static const char *const names[KINDS] = {
    "mr_builder", "mr_executor", "mr_run_handle", "mr_pending",
    "mr_buffer",  "mr_args",     "mr_recording",  "mr_bindings"};

/* What the executor that lives can run. */
static mr_callable body_;

/* A living and a closed handle of each kind. */
static void *living[KINDS], *closed[KINDS];

enum { BAD = KINDS + 12 };

/* The bad handles for a kind. */
static void *bad(int kind, int which) {
    static int local;
    uintptr_t good = (uintptr_t)living[kind];
    if (which < KINDS) {
        return which == kind ? closed[kind] : living[which];
    }
    switch (which - KINDS) {
    case 0: return NULL;
    case 1: return (void *)1;
    case 2: return (void *)(uintptr_t)0xdeadbeef;
    case 3: return &local;
    case 4: return (void *)UINTPTR_MAX;
    case 5: return (void *)(good ^ ((uintptr_t)1 << 24)); /* another generation */
    case 6: return (void *)(good + 12345);                /* a place that is not there */
    case 7: return (void *)(good ^ ((uintptr_t)1 << 63));
    case 8: return (void *)(good | (uintptr_t)0xff << 48); /* a kind that is not there */
    case 9: return (void *)(good & ~((uintptr_t)0xff << 48));
    case 10: return (void *)(good | 0xffffff);
    default: return (void *)(good | (uintptr_t)0xffffff << 24);
    }
}

/* Those that only free do nothing at NULL. */
#define FREES(kind, call)                                                                         \
    for (int which_ = 0; which_ < BAD; which_++) {                                                \
        void *h = bad(kind, which_);                                                              \
        if (h != NULL) {                                                                          \
            FAILS(MR_ERR_HANDLE, names[kind], call);                                              \
        }                                                                                         \
    }

/* The call, which names its handle h, refuses all of them, and says what it expects. */
#define REFUSES(kind, call)                                                                       \
    for (int which_ = 0; which_ < BAD; which_++) {                                                \
        void *h = bad(kind, which_);                                                              \
        FAILS(MR_ERR_HANDLE, names[kind], call);                                                  \
    }

static int body(const mr_task_args_view *args, const mr_call_config *config,
                const mr_task_context *context, void *user) {
    UNUSED(args), UNUSED(config), UNUSED(context), UNUSED(user);
    return 0;
}

/* Ends what was refused: it is not called. */
static void never(void *user) {
    UNUSED(user);
    CHECK(!"destroyed");
}

static void logs(mr_log_level level, const char *message, void *user) {
    UNUSED(level), UNUSED(message), UNUSED(user);
}

static int fill(mr_run_handle *run, void *user) {
    mr_pending *pending = NULL;
    UNUSED(user);
    FAILS(MR_ERR_MISUSE, "mr_run", mr_run_end(run));
    FAILS(MR_ERR_MISUSE, "mr_run", mr_run_end_for(run, 1, NULL));
    FAILS(MR_ERR_MISUSE, "mr_run", mr_run_detach(run, &pending));
    CHECK(pending == NULL);
    *(mr_run_handle **)user = run;
    return 0;
}

/* Fills nothing. */
static int empty(mr_run_handle *run, void *user) {
    UNUSED(run), UNUSED(user);
    return 0;
}

static void make(void **made, mr_executor *exec) {
    mr_options options = small(1);
    uint32_t two = 2;
    mr_run_handle *run;
    OK(mr_builder_new(&options, (mr_builder **)&made[BUILDER]));
    OK(mr_record(exec, empty, NULL, (mr_recording **)&made[RECORDING]));
    OK(mr_bindings_new(made[RECORDING], (mr_bindings **)&made[BINDINGS]));
    OK(mr_run_begin(exec, &run));
    OK(mr_run_detach(run, (mr_pending **)&made[PENDING]));
    OK(mr_run_begin(exec, (mr_run_handle **)&made[RUN]));
    OK(mr_buffer_new(exec, MR_INT8, &two, 1, (mr_buffer **)&made[BUFFER]));
    OK(mr_args_new((mr_args **)&made[ARGS]));
    made[EXECUTOR] = exec;
}

static void end(void **made) {
    OK(mr_builder_free(made[BUILDER]));
    OK(mr_run_end(made[RUN]));
    OK(mr_pending_free(made[PENDING]));
    OK(mr_buffer_free(made[BUFFER]));
    OK(mr_args_free(made[ARGS]));
    OK(mr_bindings_free(made[BINDINGS]));
    OK(mr_recording_free(made[RECORDING]));
    OK(mr_executor_close(made[EXECUTOR]));
}

static mr_executor *build(void) {
    mr_options options = small(1);
    mr_builder *builder;
    mr_executor *exec;
    mr_callable callable;
    OK(mr_builder_new(&options, &builder));
    OK(mr_register(builder, "body", body, NULL, &callable));
    body_ = callable;
    OK(mr_build(builder, &exec));
    FAILS(MR_ERR_HANDLE, "closed", mr_build(builder, &exec));
    FAILS(MR_ERR_HANDLE, "closed", mr_builder_free(builder));
    return exec;
}

static void handles(void) {
    mr_executor *exec = (void *)7;
    mr_run_handle *run = (void *)7;
    mr_pending *pending = (void *)7;
    mr_buffer *buffer = (void *)7;
    mr_recording *recording = (void *)7;
    mr_bindings *bindings = (void *)7;
    mr_tensor tensor = at(0);
    mr_callable callable = 7;
    mr_task task = {7, 7, 7};
    mr_stats stats = {.size = sizeof stats};
    mr_submission submission = {.size = sizeof submission};
    mr_chip_runtime chips = {.size = sizeof chips};
    mr_chip_program program = {.size = sizeof program};
    void *data = (void *)7;
    size_t size = 7;
    uint64_t number = 7;
    int flag = 7;
    const mr_args *members[1];

    REFUSES(BUILDER, mr_register(h, "x", body, NULL, &callable));
    REFUSES(BUILDER, mr_register_with(h, "x", body, NULL, never, &callable));
    REFUSES(BUILDER, mr_builder_chips(h, &chips));
    REFUSES(BUILDER, mr_register_chip(h, "x", &program, &callable));
    REFUSES(BUILDER, mr_build(h, &exec));
    FREES(BUILDER, mr_builder_free(h));
    FREES(EXECUTOR, mr_executor_close(h));
    REFUSES(EXECUTOR, mr_executor_workers(h, MR_NEXT_LEVEL, &size));
    REFUSES(EXECUTOR, mr_executor_pids(h, NULL, 0, &size));
    REFUSES(EXECUTOR, mr_executor_busy(h, 0, &flag));
    REFUSES(EXECUTOR, mr_executor_stats(h, &stats));
    REFUSES(EXECUTOR, mr_register_library(h, "/none", "x", &callable));
    REFUSES(EXECUTOR, mr_unregister(h, 0));
    REFUSES(EXECUTOR, mr_buffer_new(h, MR_INT8, NULL, 0, &buffer));
    REFUSES(EXECUTOR, mr_buffer_import(h, 0, MR_INT8, NULL, 0, &buffer));
    REFUSES(EXECUTOR, mr_run(h, fill, NULL));
    REFUSES(EXECUTOR, mr_run_begin(h, &run));
    REFUSES(EXECUTOR, mr_run_begin_for(h, 1, &run));
    REFUSES(EXECUTOR, mr_executor_close_for(h, 1));
    REFUSES(BUFFER, mr_buffer_tensor(h, &tensor));
    REFUSES(BUFFER, mr_buffer_data(h, &data, &size));
    FREES(BUFFER, mr_buffer_free(h));
    FREES(ARGS, mr_args_free(h));
    REFUSES(ARGS, mr_args_clear(h));
    REFUSES(ARGS, mr_args_add_tensor(h, &tensor, MR_INPUT));
    REFUSES(ARGS, mr_args_add_scalar(h, 1));
    REFUSES(ARGS, mr_args_count(h, &size, &size));
    REFUSES(ARGS, mr_blob_size(h, &size));
    REFUSES(ARGS, mr_blob_write(h, &data, sizeof data, &size));
    REFUSES(ARGS, mr_submit_args(living[RUN], body_, h, NULL, NULL, &task));
    REFUSES(ARGS, (members[0] = h, mr_submit_group(living[RUN], body_, members, 1, NULL, NULL, &task)));
    REFUSES(RUN, mr_run_end(h));
    REFUSES(RUN, mr_run_end_for(h, 1, &flag));
    REFUSES(RUN, mr_run_detach(h, &pending));
    REFUSES(RUN, mr_scope_begin(h));
    REFUSES(RUN, mr_scope_end(h));
    REFUSES(RUN, mr_cancel_scope(h, &number));
    REFUSES(RUN, mr_wait(h, &task));
    REFUSES(RUN, mr_wait_for(h, &task, 1, &flag));
    REFUSES(RUN, mr_run_failed(h, &flag));
    REFUSES(RUN, mr_cancel(h, &task, &flag));
    REFUSES(RUN, mr_submit_args(h, body_, living[ARGS], NULL, NULL, &task));
    REFUSES(RUN, mr_submit(h, &submission, &task));
    REFUSES(RUN, mr_submit_group(h, body_, NULL, 0, NULL, NULL, &task));
    REFUSES(RUN, mr_task_tensor(h, &task, 0, &tensor));
    REFUSES(RUN, mr_alloc(h, MR_INT8, NULL, 0, &tensor));
    REFUSES(PENDING, mr_pending_done(h, &flag));
    REFUSES(PENDING, mr_pending_failed(h, &flag));
    REFUSES(PENDING, mr_pending_fd(h, &flag));
    REFUSES(PENDING, mr_pending_wait(h, 0, &flag));
    REFUSES(PENDING, mr_pending_cancel(h, &number));
    FREES(PENDING, mr_pending_free(h));
    REFUSES(EXECUTOR, mr_record(h, empty, NULL, &recording));
    REFUSES(EXECUTOR, mr_run_recording(h, living[RECORDING], NULL));
    REFUSES(RECORDING, mr_run_recording(living[EXECUTOR], h, NULL));
    REFUSES(RECORDING, mr_recording_count(h, &size, NULL));
    REFUSES(RECORDING, mr_recording_index(h, &task, &size));
    REFUSES(RECORDING, mr_bindings_new(h, &bindings));
    REFUSES(RECORDING, mr_replay(living[RUN], h, NULL, NULL, 0));
    REFUSES(RUN, mr_replay(h, living[RECORDING], NULL, NULL, 0));
    FREES(RECORDING, mr_recording_free(h));
    REFUSES(BINDINGS, mr_bindings_memory(h, 0, &tensor));
    REFUSES(BINDINGS, mr_bindings_replace(h, &tensor, &tensor));
    REFUSES(BINDINGS, mr_bindings_scalar(h, 0, 0, 0));
    FREES(BINDINGS, mr_bindings_free(h));
    CHECK(recording == (void *)7 && bindings == (void *)7);

    /* Results are written on success only. */
    CHECK(exec == (void *)7 && run == (void *)7 && pending == (void *)7 && buffer == (void *)7);
    CHECK(callable == 7 && task.id == 7 && data == (void *)7 && size == 7 && number == 7);
    CHECK(flag == 7 && stats.submitted == 0);
}

static void nulls(void) {
    mr_options options = small(1);
    mr_tensor tensor = at(0);
    mr_task task;
    uint64_t blob[1] = {0};
    mr_callable callable;
    mr_task_args_view none = {0, 0, NULL, NULL};
    mr_chip_args chip;
    size_t size;
    FAILS(MR_ERR_NULL, "out", mr_options_init(NULL));
    FAILS(MR_ERR_NULL, "out", mr_task_options_init(NULL));
    FAILS(MR_ERR_NULL, "out", mr_call_config_init(NULL));
    FAILS(MR_ERR_NULL, "mr_failure", mr_last_failure(NULL));
    FAILS(MR_ERR_NULL, "out", mr_tensor_init(NULL, NULL, MR_INT8, NULL, 0));
    FAILS(MR_ERR_NULL, "dimensions", mr_tensor_init(&tensor, NULL, MR_INT8, NULL, 1));
    FAILS(MR_ERR_NULL, "tensor", mr_tensor_bytes(NULL, &blob[0]));
    FAILS(MR_ERR_NULL, "out", mr_tensor_bytes(&tensor, NULL));
    FAILS(MR_ERR_NULL, "out", mr_builder_new(&options, NULL));
    FAILS(MR_ERR_NULL, "options", mr_builder_new(NULL, (mr_builder **)&size));
    FAILS(MR_ERR_NULL, "name", mr_register(living[BUILDER], NULL, body, NULL, &callable));
    FAILS(MR_ERR_NULL, "function", mr_register(living[BUILDER], "x", NULL, NULL, &callable));
    FAILS(MR_ERR_NULL, "out", mr_register(living[BUILDER], "x", body, NULL, NULL));
    FAILS(MR_ERR_NULL, "out", mr_build(living[BUILDER], NULL));
    FAILS(MR_ERR_NULL, "out", mr_executor_workers(living[EXECUTOR], MR_SUB, NULL));
    FAILS(MR_ERR_NULL, "count", mr_executor_pids(living[EXECUTOR], NULL, 9, NULL));
    FAILS(MR_ERR_NULL, "out", mr_executor_busy(living[EXECUTOR], 0, NULL));
    FAILS(MR_ERR_NULL, "mr_stats", mr_executor_stats(living[EXECUTOR], NULL));
    FAILS(MR_ERR_NULL, "path", mr_register_library(living[EXECUTOR], NULL, "x", &callable));
    FAILS(MR_ERR_NULL, "symbol", mr_register_library(living[EXECUTOR], "/x", NULL, &callable));
    FAILS(MR_ERR_NULL, "out", mr_register_library(living[EXECUTOR], "/x", "x", NULL));
    FAILS(MR_ERR_NULL, "out", mr_buffer_new(living[EXECUTOR], MR_INT8, NULL, 0, NULL));
    FAILS(MR_ERR_NULL, "dimensions",
          mr_buffer_new(living[EXECUTOR], MR_INT8, NULL, 2, (mr_buffer **)&size));
    FAILS(MR_ERR_NULL, "out", mr_buffer_tensor(living[BUFFER], NULL));
    FAILS(MR_ERR_NULL, "data", mr_buffer_data(living[BUFFER], NULL, &size));
    FAILS(MR_ERR_NULL, "out", mr_args_new(NULL));
    FAILS(MR_ERR_NULL, "tensor", mr_args_add_tensor(living[ARGS], NULL, MR_INPUT));
    OK(mr_args_count(living[ARGS], NULL, NULL));
    FAILS(MR_ERR_NULL, "out", mr_blob_size(living[ARGS], NULL));
    FAILS(MR_ERR_NULL, "buffer", mr_blob_write(living[ARGS], NULL, 99, &size));
    FAILS(MR_ERR_NULL, "written", mr_blob_write(living[ARGS], blob, 8, NULL));
    FAILS(MR_ERR_NULL, "blob", mr_blob_read(NULL, 8, (mr_task_args_view *)&size));
    FAILS(MR_ERR_NULL, "out", mr_blob_read(blob, 8, NULL));
    FAILS(MR_ERR_NULL, "view", mr_view_to_chip_args(NULL, &chip));
    FAILS(MR_ERR_NULL, "out", mr_view_to_chip_args(&none, NULL));
    FAILS(MR_ERR_NULL, "out", mr_buffer_import(living[EXECUTOR], 0, MR_INT8, NULL, 0, NULL));
    FAILS(MR_ERR_NULL, "blob", mr_run_from_blob(body, NULL, NULL, 8, NULL));
    FAILS(MR_ERR_NULL, "function", mr_run_from_blob(NULL, NULL, blob, 8, NULL));
    FAILS(MR_ERR_NULL, "body", mr_run(living[EXECUTOR], NULL, NULL));
    FAILS(MR_ERR_NULL, "out", mr_run_begin(living[EXECUTOR], NULL));
    FAILS(MR_ERR_NULL, "out", mr_run_detach(living[RUN], NULL));
    FAILS(MR_ERR_NULL, "args", mr_submit_group(living[RUN], body_, NULL, 1, NULL, NULL, &task));
    FAILS(MR_ERR_NULL, "task", mr_wait(living[RUN], NULL));
    FAILS(MR_ERR_NULL, "task", mr_cancel(living[RUN], NULL, NULL));
    FAILS(MR_ERR_NULL, "task", mr_task_tensor(living[RUN], NULL, 0, &tensor));
    FAILS(MR_ERR_NULL, "out", mr_task_tensor(living[RUN], &task, 0, NULL));
    FAILS(MR_ERR_NULL, "out", mr_alloc(living[RUN], MR_INT8, NULL, 0, NULL));
    OK(mr_cancel_scope(living[RUN], NULL));
    FAILS(MR_ERR_NULL, "out", mr_pending_done(living[PENDING], NULL));
    FAILS(MR_ERR_NULL, "out", mr_pending_failed(living[PENDING], NULL));
    FAILS(MR_ERR_NULL, "out", mr_pending_fd(living[PENDING], NULL));
    FAILS(MR_ERR_NULL, "out", mr_run_failed(living[RUN], NULL));
    FAILS(MR_ERR_NULL, "out", mr_run_begin_for(living[EXECUTOR], 0, NULL));
    FAILS(MR_ERR_NULL, "task", mr_wait_for(living[RUN], NULL, 0, NULL));
    OK(mr_pending_wait(living[PENDING], 0, NULL));
    OK(mr_pending_cancel(living[PENDING], NULL));
    FAILS(MR_ERR_NULL, "body", mr_record(living[EXECUTOR], NULL, NULL, (mr_recording **)&size));
    FAILS(MR_ERR_NULL, "out", mr_record(living[EXECUTOR], empty, NULL, NULL));
    OK(mr_recording_count(living[RECORDING], NULL, NULL));
    FAILS(MR_ERR_NULL, "task", mr_recording_index(living[RECORDING], NULL, &size));
    FAILS(MR_ERR_NULL, "out", mr_bindings_new(living[RECORDING], NULL));
    FAILS(MR_ERR_NULL, "tensor", mr_bindings_memory(living[BINDINGS], 0, NULL));
    FAILS(MR_ERR_NULL, "recorded", mr_bindings_replace(living[BINDINGS], NULL, &tensor));
    FAILS(MR_ERR_REPLAY, "no binding 0", mr_bindings_memory(living[BINDINGS], 0, &tensor));
    FAILS(MR_ERR_REPLAY, "no memory at 0x0", mr_bindings_replace(living[BINDINGS], &tensor, &tensor));
    FAILS(MR_ERR_REPLAY, "no task 0", mr_bindings_scalar(living[BINDINGS], 0, 0, 0));
    task.id = 77;
    FAILS(MR_ERR_NOT_FOUND, "mr_task 77", mr_recording_index(living[RECORDING], &task, &size));
    FAILS(MR_ERR_REPLAY, "no task 0", mr_replay(living[RUN], living[RECORDING], NULL, &task, 1));
    OK(mr_replay(living[RUN], living[RECORDING], living[BINDINGS], NULL, 0));
}

static void numbers(void) {
    const uint32_t huge[6] = {~0u, ~0u, ~0u, ~0u, ~0u, 1};
    mr_builder *builder = NULL;
    mr_buffer *buffer;
    mr_executor *exec;
    mr_options options;
    mr_tensor tensor = at(0), other;
    mr_task task = {0, 0, 0};
    mr_callable callable;
    uint64_t number;
    int flag;
    size_t size;

    /* Options: checked when the builder is made, or when it is built. */
#define OPTION(member, value, status, part)                                                       \
    options = small(1);                                                                           \
    options.member = value;                                                                       \
    FAILS(status, part, mr_builder_new(&options, &builder));
    OPTION(mode, 2, MR_ERR_ARGUMENT, "mode 2");
    OPTION(hazards, 2, MR_ERR_ARGUMENT, "hazards 2");
    OPTION(wait, 3, MR_ERR_ARGUMENT, "wait 3");
    OPTION(wait, ~0u, MR_ERR_ARGUMENT, "wait");
    OPTION(pin_cpus, 2, MR_ERR_ARGUMENT, "pin_cpus");
    OPTION(name, "\xff", MR_ERR_ARGUMENT, "UTF-8");
    OPTION(name, "", MR_ERR_ARGUMENT, "empty");
#define BUILDS(member, value, status, part)                                                       \
    options = small(1);                                                                           \
    options.member = value;                                                                       \
    OK(mr_builder_new(&options, &builder));                                                       \
    FAILS(status, part, mr_build(builder, &exec));                                                \
    FAILS(MR_ERR_HANDLE, "closed", mr_builder_free(builder));
    BUILDS(workers, 0, MR_ERR_WORKERS, "workers 0");
    BUILDS(workers, 257, MR_ERR_WORKERS, "256");
    BUILDS(workers, UINT64_MAX, MR_ERR_WORKERS, "256");
    BUILDS(sub_workers, UINT64_MAX, MR_ERR_WORKERS, "256");
    BUILDS(slot_window, 17, MR_ERR_RING, "17 slots");
    BUILDS(slot_window, (uint64_t)1 << 40, MR_ERR_RING, "65536");
    BUILDS(heap_bytes, UINT64_MAX - 1, MR_ERR_MEMORY, "heap ring");
    BUILDS(buffer_bytes, UINT64_MAX - 1, MR_ERR_MEMORY, "buffer space");

    FAILS(MR_ERR_ARGUMENT, "UTF-8", mr_register(living[BUILDER], "\xc3", body, NULL, &callable));
    FAILS(MR_ERR_ARGUMENT, "empty", mr_register(living[BUILDER], "", body, NULL, &callable));
    OK(mr_register(living[BUILDER], "odd\n\x1b[31m", body, NULL, &callable));
    FAILS(MR_ERR_DUPLICATE, "`odd\\n\\u{1b}[31m`",
          mr_register(living[BUILDER], "odd\n\x1b[31m", body, NULL, &callable));
    OK(mr_register(living[BUILDER], "same", body, NULL, &callable));
    FAILS(MR_ERR_DUPLICATE, "`same`", mr_register(living[BUILDER], "same", body, NULL, &callable));

    /* Tensors. */
    FAILS(MR_ERR_ARGUMENT, "9 is not an element type", mr_tensor_init(&tensor, NULL, 9, NULL, 0));
    FAILS(MR_ERR_ARGUMENT, "256 is not an element", mr_tensor_init(&tensor, NULL, 256, NULL, 0));
    FAILS(MR_ERR_ARGUMENT, "at most 5", mr_tensor_init(&tensor, NULL, MR_INT8, huge, 6));
    FAILS(MR_ERR_ARGUMENT, "at most 5", mr_tensor_init(&tensor, NULL, MR_INT8, huge, SIZE_MAX));
    FAILS(MR_ERR_ARGS, "64 bits", mr_tensor_init(&tensor, NULL, MR_INT8, huge, 3));
    FAILS(MR_ERR_ARGS, "end of the address space",
          mr_tensor_init(&tensor, (void *)(UINTPTR_MAX - 1), MR_INT32, NULL, 0));
    CHECK(tensor.ndims == 0 && tensor.dtype == MR_UINT64);
    other = tensor;
    other.ndims = 6;
    FAILS(MR_ERR_ARGS, "5 dimensions", mr_tensor_bytes(&other, &number));
    FAILS(MR_ERR_ARGS, "5 dimensions", mr_args_add_tensor(living[ARGS], &other, MR_INPUT));
    other = tensor;
    other.dtype = 77;
    FAILS(MR_ERR_ARGS, "77", mr_tensor_bytes(&other, &number));
    FAILS(MR_ERR_ARGS, "77", mr_args_add_tensor(living[ARGS], &other, MR_INPUT));
    FAILS(MR_ERR_ARGUMENT, "5 is not a tag", mr_args_add_tensor(living[ARGS], &tensor, 5));
    FAILS(MR_ERR_ARGUMENT, "-1 is not a tag", mr_args_add_tensor(living[ARGS], &tensor, -1));
    OK(mr_args_add_scalar(living[ARGS], 1));
    FAILS(MR_ERR_ARGS, "after a scalar", mr_args_add_tensor(living[ARGS], &tensor, MR_INPUT));
    OK(mr_args_clear(living[ARGS]));

    /* The executor and its buffers. */
    FAILS(MR_ERR_ARGUMENT, "2 is not a kind", mr_executor_workers(living[EXECUTOR], 2, &size));
    FAILS(MR_ERR_ARGUMENT, "no worker 1", mr_executor_busy(living[EXECUTOR], 1, &flag));
    FAILS(MR_ERR_ARGUMENT, "no worker", mr_executor_busy(living[EXECUTOR], ~0u, &flag));
    FAILS(MR_ERR_ARGUMENT, "not an element type",
          mr_buffer_new(living[EXECUTOR], 9, NULL, 0, &buffer));
    FAILS(MR_ERR_ARGUMENT, "-1 is not a descriptor",
          mr_buffer_import(living[EXECUTOR], -1, MR_INT8, NULL, 0, &buffer));
    FAILS(MR_ERR_IMPORT, "descriptor 9999",
          mr_buffer_import(living[EXECUTOR], 9999, MR_INT8, NULL, 0, &buffer));
    FAILS(MR_ERR_ARGUMENT, "at most 5", mr_buffer_new(living[EXECUTOR], MR_INT8, huge, 6, &buffer));
    FAILS(MR_ERR_ARGS, "64 bits", mr_buffer_new(living[EXECUTOR], MR_INT8, huge, 5, &buffer));
    FAILS(MR_ERR_BUFFER_SPACE, "32 GiB",
          mr_buffer_new(living[EXECUTOR], MR_INT8, huge, 2, &buffer));
    FAILS(MR_ERR_BUFFER_SPACE, "buffer_bytes",
          mr_buffer_new(living[EXECUTOR], MR_INT8, huge, 1, &buffer));
    FAILS(MR_ERR_LIBRARY, "/none",
          mr_register_library(living[EXECUTOR], "/none", "x", &callable));
    FAILS(MR_ERR_LIBRARY, "not a shared object",
          mr_register_library(living[EXECUTOR], "/etc/passwd", "x", &callable));
    FAILS(MR_ERR_FUNCTION, "0x63", mr_unregister(living[EXECUTOR], 99));

    /* Runs. */
    FAILS(MR_ERR_MISUSE, "inside a run",
          mr_run_begin(living[EXECUTOR], (mr_run_handle **)&size));
    FAILS(MR_ERR_MISUSE, "inside a run", mr_run(living[EXECUTOR], fill, NULL));
    FAILS(MR_ERR_TASK_HANDLE, "not a task of this run", mr_wait(living[RUN], &task));
    FAILS(MR_ERR_TASK_HANDLE, "not a task of this run", mr_cancel(living[RUN], &task, NULL));
    FAILS(MR_ERR_TASK_HANDLE, "not a task", mr_task_tensor(living[RUN], &task, 0, &tensor));
    FAILS(MR_ERR_SCOPE, "scope", mr_scope_end(living[RUN]));
    FAILS(MR_ERR_FUNCTION, "0x1", mr_submit_args(living[RUN], 1, living[ARGS], NULL, NULL, NULL));
    FAILS(MR_ERR_GROUP, "at least one", mr_submit_group(living[RUN], body_, NULL, 0, NULL, NULL, NULL));
    FAILS(MR_ERR_GROUP, "257",
          mr_submit_group(living[RUN], body_, (const mr_args *const *)living, 257, NULL, NULL, NULL));
    FAILS(MR_ERR_GROUP, "pool of 1",
          (living[0] = living[ARGS], living[1] = living[ARGS],
           mr_submit_group(living[RUN], body_, (const mr_args *const *)living, 2, NULL, NULL, NULL)));
    FAILS(MR_ERR_RING, "heap_bytes", mr_alloc(living[RUN], MR_INT8, huge, 1, &tensor));
    FAILS(MR_ERR_ARGUMENT, "at most 5", mr_alloc(living[RUN], MR_INT8, huge, 6, &tensor));
    FAILS(MR_ERR_ARGUMENT, "not an element type", mr_alloc(living[RUN], 9, NULL, 0, &tensor));
    tensor = at(0);
    OK(mr_args_add_tensor(living[ARGS], &tensor, MR_INPUT));
    FAILS(MR_ERR_ADDRESS, "null", mr_submit_args(living[RUN], body_, living[ARGS], NULL, NULL, NULL));
    OK(mr_args_clear(living[ARGS]));
    tensor = at((uint64_t)(uintptr_t)&number);
    OK(mr_args_add_tensor(living[ARGS], &tensor, MR_INPUT));
    FAILS(MR_ERR_ADDRESS, "no buffer", mr_submit_args(living[RUN], body_, living[ARGS], NULL, NULL, NULL));
    OK(mr_args_clear(living[ARGS]));
    for (int i = 0; i < 300000; i++) {
        OK(mr_args_add_scalar(living[ARGS], 1));
    }
    FAILS(MR_ERR_ARGS_TOO_LARGE, "2097152",
          mr_submit_args(living[RUN], body_, living[ARGS], NULL, NULL, NULL));
    OK(mr_args_clear(living[ARGS]));
}

/* Freeing nothing is not an error, and does not hide the one before. */
static void free_nothing(void) {
    mr_builder *builder = NULL;
    FAILS(MR_ERR_NULL, "options", mr_builder_new(NULL, &builder));
    OK(mr_builder_free(builder));
    OK(mr_executor_close(NULL));
    OK(mr_buffer_free(NULL));
    OK(mr_args_free(NULL));
    OK(mr_pending_free(NULL));
    CHECK(strcmp(mr_last_error(), "options is NULL") == 0);
}

/* A submit with arrays: each thing that cannot be. */
static void submissions(void) {
    mr_run_handle *run = living[RUN];
    mr_tensor tensor = at((uint64_t)(uintptr_t)&tensor);
    mr_tag tag = MR_INPUT;
    uint64_t scalar = 1;
    mr_call_config config;
    struct {
        mr_submission known;
        uint64_t unknown;
    } newer;
    const mr_submission none = {.size = sizeof none, .callable = body_};
    mr_submission task = none;
    FAILS(MR_ERR_NULL, "task", mr_submit(run, NULL, NULL));
    task.size = 8;
    FAILS(MR_ERR_SIZE, "mr_submission has size 8", mr_submit(run, &task, NULL));
    memset(&newer, 0, sizeof newer);
    newer.known.size = sizeof newer;
    newer.known.callable = body_;
    newer.unknown = 1;
    FAILS(MR_ERR_SIZE, "byte 72 is set", mr_submit(run, &newer.known, NULL));
    newer.unknown = 0;
    newer.known.tensor_count = 1;
    FAILS(MR_ERR_NULL, "tensors", mr_submit(run, &newer.known, NULL));
    task = none, task.tensor_count = 1, task.tensors = &tensor;
    FAILS(MR_ERR_NULL, "tags", mr_submit(run, &task, NULL));
    task.tags = &tag;
    FAILS(MR_ERR_ADDRESS, "no buffer", mr_submit(run, &task, NULL));
    tensor.padding[6] = 1;
    FAILS(MR_ERR_ARGS, "padding", mr_submit(run, &task, NULL));
    FAILS(MR_ERR_ARGS, "padding", mr_args_add_tensor(living[ARGS], &tensor, MR_INPUT));
    FAILS(MR_ERR_ARGS, "padding", mr_tensor_bytes(&tensor, &scalar));
    tensor.padding[6] = 0, tensor.dtype = 9;
    FAILS(MR_ERR_ARGS, "9", mr_submit(run, &task, NULL));
    tensor.dtype = MR_INT8, tensor.ndims = 6;
    FAILS(MR_ERR_ARGS, "5 dimensions", mr_submit(run, &task, NULL));
    tensor.ndims = 0, tag = (mr_tag)5;
    FAILS(MR_ERR_ARGUMENT, "5 is not a tag", mr_submit(run, &task, NULL));
    tag = (mr_tag)-1;
    FAILS(MR_ERR_ARGUMENT, "-1 is not a tag", mr_submit(run, &task, NULL));
    tag = MR_INPUT, task.tensor_count = SIZE_MAX;
    FAILS(MR_ERR_ARGS_TOO_LARGE, "2097152", mr_submit(run, &task, NULL));
    task = none, task.scalar_count = 1;
    FAILS(MR_ERR_NULL, "scalars", mr_submit(run, &task, NULL));
    task.scalars = &scalar, task.scalar_count = (size_t)1 << 61;
    FAILS(MR_ERR_ARGS_TOO_LARGE, "2097152", mr_submit(run, &task, NULL));
    OK(mr_call_config_init(&config));
    task.scalar_count = 1, task.config = &config, task.callable = 99;
    FAILS(MR_ERR_FUNCTION, "0x63", mr_submit(run, &task, NULL));
}

/* A callable names one function of one executor: 0 and those of others run nothing. */
static void callables(void) {
    const mr_callable ours = body_;
    mr_executor *other = build();
    const mr_callable foreign[2] = {0, body_};
    const mr_args *member = living[ARGS];
    mr_submission task = {.size = sizeof task};
    mr_run_handle *run;
    mr_task made;
    CHECK(ours != 0 && body_ != 0 && ours != body_);
    OK(mr_run_begin(other, &run));
    for (int i = 0; i < 2; i++) {
        task.callable = foreign[i];
        FAILS(MR_ERR_FUNCTION, "of this executor", mr_submit(living[RUN], &task, &made));
        FAILS(MR_ERR_FUNCTION, "of this executor",
              mr_submit_args(living[RUN], foreign[i], member, NULL, NULL, &made));
        FAILS(MR_ERR_FUNCTION, "of this executor",
              mr_submit_group(living[RUN], foreign[i], &member, 1, NULL, NULL, &made));
        FAILS(MR_ERR_FUNCTION, "of this executor", mr_unregister(living[EXECUTOR], foreign[i]));
    }
    task.callable = ours;
    FAILS(MR_ERR_FUNCTION, "of this executor", mr_submit(run, &task, &made));
    task.callable = body_;
    OK(mr_submit(run, &task, &made));
    OK(mr_run_end(run));
    OK(mr_executor_close(other));
    body_ = ours;
}

/* Chips, destructors, the log. */
static void others(void) {
    mr_chip_runtime chips = {.size = sizeof chips};
    mr_chip_program program = {.size = sizeof program};
    mr_chip_kernel kernel = {0, 0, NULL, 0, NULL};
    const mr_direction odd = (mr_direction)4;
    int32_t device = 3;
    mr_callable callable;
    mr_builder *builder = living[BUILDER];
    FAILS(MR_ERR_NULL, "name", mr_register_with(builder, NULL, body, NULL, never, &callable));
    FAILS(MR_ERR_DUPLICATE, "same", mr_register_with(builder, "same", body, NULL, never, &callable));
    FAILS(MR_ERR_ARGUMENT, "6 is not a level", mr_set_log((mr_log_level)6, logs, NULL));
    FAILS(MR_ERR_NULL, "runtime", mr_builder_chips(builder, NULL));
    FAILS(MR_ERR_NULL, "host_runtime", mr_builder_chips(builder, &chips));
    chips.host_runtime = "/none.so", chips.device_count = 1;
    FAILS(MR_ERR_NULL, "devices", mr_builder_chips(builder, &chips));
    chips.devices = &device, chips.device_count = 257;
    FAILS(MR_ERR_ARGUMENT, "256", mr_builder_chips(builder, &chips));
    program.function = "f", program.file = "/etc/passwd";
    FAILS(MR_ERR_MISUSE, "mr_builder_chips", mr_register_chip(builder, "x", &program, &callable));
    chips.device_count = 1;
    OK(mr_builder_chips(builder, &chips));
    FAILS(MR_ERR_MISUSE, "already", mr_builder_chips(builder, &chips));
    FAILS(MR_ERR_NULL, "program", mr_register_chip(builder, "x", NULL, &callable));
    FAILS(MR_ERR_NULL, "out", mr_register_chip(builder, "x", &program, NULL));
    FAILS(MR_ERR_ARGUMENT, "empty", mr_register_chip(builder, "", &program, &callable));
    program.file = NULL;
    FAILS(MR_ERR_NULL, "file", mr_register_chip(builder, "x", &program, &callable));
    program.file = "/dev/zero";
    FAILS(MR_ERR_ARGS, "not a regular file", mr_register_chip(builder, "x", &program, &callable));
    program.file = "/etc/passwd", program.signature = &odd, program.signature_count = 1;
    FAILS(MR_ERR_ARGS, "4", mr_register_chip(builder, "x", &program, &callable));
    program.signature_count = 17;
    FAILS(MR_ERR_ARGUMENT, "16", mr_register_chip(builder, "x", &program, &callable));
    program.signature_count = 0, program.kernels = &kernel, program.kernel_count = 1;
    FAILS(MR_ERR_NULL, "kernel", mr_register_chip(builder, "x", &program, &callable));
    program.kernel_count = 0;
    OK(mr_register_chip(builder, "x", &program, &callable));
    FAILS(MR_ERR_DUPLICATE, "`x`", mr_register_chip(builder, "x", &program, &callable));
}

/* Options of a task, each impossible value. */
static void task_options(void) {
    mr_task_options options;
#define TASK(member, value, status, part)                                                         \
    OK(mr_task_options_init(&options));                                                           \
    options.member = value;                                                                       \
    FAILS(status, part, mr_submit_args(living[RUN], body_, living[ARGS], NULL, &options, NULL));
    TASK(kind, 2, MR_ERR_ARGUMENT, "2 is not a kind");
    TASK(kind, MR_SUB, MR_ERR_WORKER, "no SUB workers");
    TASK(priority, 2, MR_ERR_ARGUMENT, "priority 2");
    TASK(worker, 1, MR_ERR_WORKER, "worker 1");
    TASK(worker, -2, MR_ERR_ARGUMENT, "-1 means any");
    TASK(worker, 70000, MR_ERR_ARGUMENT, "70000");
    TASK(retries, 1, MR_ERR_OPTIONS, "idempotent");
    TASK(retries, 63, MR_ERR_OPTIONS, "62");
    TASK(deadline_us, (uint64_t)1 << 32, MR_ERR_OPTIONS, "71 minutes");
    TASK(deadline_us, UINT64_MAX, MR_ERR_OPTIONS, "71 minutes");
    TASK(idempotent, 2, MR_ERR_ARGUMENT, "idempotent is 2");
    TASK(snapshot, 2, MR_ERR_ARGUMENT, "snapshot is 2");
    TASK(name, "\x80", MR_ERR_ARGUMENT, "UTF-8");
    TASK(name, "", MR_ERR_ARGUMENT, "empty");
    TASK(after_count, 1, MR_ERR_NULL, "after");
    TASK(after_any_count, 1, MR_ERR_NULL, "after_any");
}

int main(void) {
    mr_run_handle *past = NULL;
    mr_run_handle *begun;
    mr_failure failure = {.size = sizeof failure};
    void *made[KINDS];

    CHECK(strcmp(mr_last_error(), "") == 0);
    CHECK(mr_last_failure(&failure) == MR_ERR_NOT_FOUND);
    CHECK(strcmp(mr_last_error(), "") == 0);

    make(made, build());
    memcpy(closed, made, sizeof made);
    end(made);
    make(made, build());
    memcpy(living, made, sizeof made);
    for (int kind = 0; kind < KINDS; kind++) {
        CHECK(living[kind] != closed[kind]);
    }
    handles();
    nulls();
    numbers();
    memcpy(living, made, sizeof made);
    submissions();
    callables();
    others();
    free_nothing();
    memcpy(living, made, sizeof made);
    task_options();

    /* What was refused has changed nothing: all of it still works. */
    OK(mr_submit_args(living[RUN], body_, living[ARGS], NULL, NULL, NULL));
    OK(mr_run_end(living[RUN]));
    OK(mr_run(living[EXECUTOR], fill, &past));
    FAILS(MR_ERR_HANDLE, "closed", mr_scope_begin(past));
    OK(mr_run_begin(living[EXECUTOR], &begun));
    made[RUN] = begun;
    end(made);
    puts("ok");
    return 0;
}
