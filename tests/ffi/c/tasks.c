/* Runs: what tasks do, how they end, what is said of it. argv[1] is a shared object made from
 * late.c, argv[2] a place for files. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

#include "check.h"

#define ARGUMENTS                                                                                 \
    const mr_task_args_view *args, const mr_call_config *config, const mr_task_context *context,  \
        void *user

#define BODY(name)                                                                                \
    static int name(ARGUMENTS);                                                                   \
    static int name(ARGUMENTS)

static uint64_t *word(const mr_task_args_view *args, int32_t index) {
    return (uint64_t *)mr_view_data(args, index);
}

/* word += scalar */
BODY(add) {
    UNUSED(config), UNUSED(context), UNUSED(user);
    *word(args, 0) += args->scalars[0];
    return 0;
}

/* word[0] = the scalar, in every element */
BODY(set) {
    UNUSED(config), UNUSED(context), UNUSED(user);
    for (uint64_t i = 0; i < mr_view_elements(args, 0); i++) {
        word(args, 0)[i] = args->scalars[0] + i;
    }
    return 0;
}

/* Says that it runs, and then waits to be cancelled. */
BODY(hang) {
    UNUSED(config), UNUSED(user);
    __atomic_store_n(word(args, 0), 1, __ATOMIC_SEQ_CST);
    while (!context->cancelled(context)) {
        usleep(200);
    }
    return 0;
}

/* Does not even look. */
BODY(deaf) {
    UNUSED(config), UNUSED(context), UNUSED(user);
    __atomic_store_n(word(args, 0), 1, __ATOMIC_SEQ_CST);
    sleep(1000);
    return 0;
}

/* Kills its worker in its first attempts. The second word counts the attempts. */
BODY(die) {
    UNUSED(config), UNUSED(user);
    *word(args, 0) += 1;
    *word(args, 1) = context->attempt;
    if (context->attempt <= args->scalars[0]) {
        abort();
    }
    return 0;
}

BODY(say) {
    UNUSED(config);
    context->fail(context, (const char *)user);
    return (int)args->scalars[0];
}

BODY(leave) {
    UNUSED(config), UNUSED(context), UNUSED(user);
    _exit((int)args->scalars[0]);
}

BODY(talk) {
    char text[4096];
    UNUSED(args), UNUSED(config), UNUSED(user);
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    context->fail(context, text);
    return -5;
}

/* Members count each other in, meet, and count again. */
BODY(meet) {
    UNUSED(config), UNUSED(user);
    word(args, 0)[context->member] = 1;
    context->fetch_add(context, 3, 1);
    if (context->barrier(context) != 0) {
        return 1;
    }
    if (context->load(context, 3) != context->members || context->members != 2) {
        return 2;
    }
    if (args->scalar_count > 0 && context->member == 1) {
        return 77; /* the other one waits in vain */
    }
    return context->barrier(context);
}

BODY(show) {
    UNUSED(args), UNUSED(context), UNUSED(user);
    return config->block_dim == 3 && config->enable_profiling == 1 ? 0 : 9;
}

static mr_callable add_, set_, hang_, deaf_, die_, say_, meet_, show_, leave_, talk_;

static mr_executor *build(mr_mode mode) {
    mr_options options = small(2);
    mr_builder *builder;
    mr_executor *exec;
    options.mode = mode;
    options.sub_workers = 1;
    options.name = "from C";
    OK(mr_builder_new(&options, &builder));
    OK(mr_register(builder, "add", add, NULL, &add_));
    OK(mr_register(builder, "set", set, NULL, &set_));
    OK(mr_register(builder, "hang", hang, NULL, &hang_));
    OK(mr_register(builder, "deaf", deaf, NULL, &deaf_));
    OK(mr_register(builder, "die", die, NULL, &die_));
    OK(mr_register(builder, "say", say, (void *)"it \"says\" so \xc3\xa9", &say_));
    OK(mr_register(builder, "meet", meet, NULL, &meet_));
    OK(mr_register(builder, "show", show, NULL, &show_));
    OK(mr_register(builder, "leave", leave, NULL, &leave_));
    OK(mr_register(builder, "talk", talk, NULL, &talk_));
    OK(mr_build(builder, &exec));
    return exec;
}

static mr_args *args; /* of this thread */

static mr_args *one(mr_tensor tensor, mr_tag tag, int64_t scalar) {
    OK(mr_args_clear(args));
    OK(mr_args_add_tensor(args, &tensor, tag));
    if (scalar >= 0) {
        OK(mr_args_add_scalar(args, (uint64_t)scalar));
    }
    return args;
}

static mr_failure failure(void) {
    mr_failure failure = {.size = sizeof failure};
    OK(mr_last_failure(&failure));
    CHECK(failure.size == sizeof failure);
    return failure;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void outputs_and_scopes(mr_executor *exec) {
    const uint32_t shape[2] = {4, 25};
    mr_run_handle *run;
    mr_tensor wanted, made, other;
    mr_task task, later;
    mr_buffer *buffer;
    uint64_t *result = words(exec, 1, &buffer);
    OK(mr_run_begin(exec, &run));
    OK(mr_tensor_init(&wanted, NULL, MR_UINT64, shape, 2));
    OK(mr_submit_args(run, set_, one(wanted, MR_OUTPUT, 7), NULL, NULL, &task));
    OK(mr_task_tensor(run, &task, 0, &made));
    CHECK(made.data % 1024 == 0 && made.ndims == 2 && made.shapes[1] == 25);
    FAILS(MR_ERR_TASK_HANDLE, "not allocated", mr_task_tensor(run, &task, 1, &other));
    OK(mr_wait(run, &task));
    CHECK(((uint64_t *)(uintptr_t)made.data)[99] == 7 + 99);
    OK(mr_scope_begin(run));
    OK(mr_alloc(run, MR_UINT64, NULL, 0, &other));
    CHECK(other.data != 0 && other.ndims == 0);
    OK(mr_submit_args(run, set_, one(other, MR_INOUT, 1), NULL, NULL, NULL));
    OK(mr_submit_args(run, add_, one(other, MR_INOUT, 2), NULL, NULL, &later));
    OK(mr_wait(run, &later));
    *result = *(uint64_t *)(uintptr_t)other.data;
    CHECK(*result == 3 && later.id == task.id + 2);
    OK(mr_scope_end(run));
    FAILS(MR_ERR_SCOPE, "scope", mr_scope_end(run));
    for (int i = 1; i < 64; i++) {
        OK(mr_scope_begin(run));
    }
    FAILS(MR_ERR_SCOPE, "64", mr_scope_begin(run));
    OK(mr_run_end(run)); /* and with it the scopes */
    FAILS(MR_ERR_HANDLE, "closed", mr_wait(run, &task));
    OK(mr_run_begin(exec, &run));
    FAILS(MR_ERR_TASK_HANDLE, "not a task of this run", mr_wait(run, &task));
    OK(mr_run_end(run));
    OK(mr_buffer_free(buffer));
}

static void errors(mr_executor *exec) {
    mr_buffer *buffer;
    mr_run_handle *run;
    mr_task_options options;
    mr_task first, second, third;
    mr_failure failed;
    mr_call_config config;
    uint64_t *data = words(exec, 2, &buffer);
    mr_tensor cell = at((uint64_t)(uintptr_t)data), other = at((uint64_t)(uintptr_t)&data[1]);

    OK(mr_task_options_init(&options));
    options.name = "the second one";
    options.kind = MR_SUB;
    OK(mr_run_begin(exec, &run));
    OK(mr_submit_args(run, add_, one(other, MR_INOUT, 5), NULL, NULL, &first));
    OK(mr_submit_args(run, say_, one(cell, MR_OUTPUT, 55), NULL, &options, &second));
    OK(mr_submit_args(run, add_, one(cell, MR_INOUT, 1), NULL, NULL, &third));
    OK(mr_wait(run, &first));
    FAILS(MR_ERR_TASK, "it \"says\" so \xc3\xa9 (it returned 55)", mr_wait(run, &third));
    failed = failure();
    CHECK(failed.task == second.id && failed.kind == MR_FAILURE_ERROR && failed.attempt == 1);
    CHECK(failed.worker == 2 && failed.member == -1);
    CHECK(failed.has == MR_FAILURE_HAS_RETURNED && failed.returned == 55);
    CHECK(strcmp(failed.name, "the second one") == 0);
    CHECK(strcmp(failed.message, "it \"says\" so \xc3\xa9 (it returned 55)") == 0);
    FAILS(MR_ERR_TASK, "`the second one`) failed on worker 2, attempt 1", mr_run_end(run));
    CHECK(data[1] == 5 && data[0] == 0);
    FAILS(MR_ERR_HANDLE, "closed", mr_run_end(run));
    {
        mr_failure none = {.size = sizeof none};
        CHECK(mr_last_failure(&none) == MR_ERR_NOT_FOUND); /* that was no task */
    }

    OK(mr_call_config_init(&config));
    config.block_dim = 3, config.enable_profiling = 1;
    OK(mr_run_begin(exec, &run));
    OK(mr_args_clear(args));
    OK(mr_submit_args(run, show_, args, &config, NULL, NULL));
    OK(mr_run_end(run));
    OK(mr_run_begin(exec, &run));
    OK(mr_submit_args(run, show_, args, NULL, NULL, NULL));
    FAILS(MR_ERR_TASK, "it returned 9", mr_run_end(run));
    OK(mr_buffer_free(buffer));
}

static void deaths(mr_executor *exec) {
    mr_buffer *buffer;
    mr_run_handle *run;
    mr_task_options options;
    mr_stats stats = {.size = sizeof stats};
    mr_failure failed;
    uint64_t *data = words(exec, 3, &buffer);
    mr_tensor cell = at((uint64_t)(uintptr_t)data), count = at((uint64_t)(uintptr_t)&data[1]);

    /* Not repeated: it fails, and says how. */
    OK(mr_run_begin(exec, &run));
    OK(mr_args_clear(args));
    OK(mr_args_add_tensor(args, &cell, MR_INOUT));
    OK(mr_args_add_tensor(args, &count, MR_INOUT));
    OK(mr_args_add_scalar(args, 2));
    OK(mr_submit_args(run, die_, args, NULL, NULL, NULL));
    FAILS(MR_ERR_TASK, "lost its worker", mr_run_end(run));
    failed = failure();
    CHECK(failed.kind == MR_FAILURE_WORKER_DIED && failed.attempt == 1 && failed.worker >= 0);
    CHECK(strcmp(failed.name, "die") == 0 && strstr(failed.message, "SIGABRT") != NULL);
    CHECK(data[0] == 1 && data[1] == 1);
    CHECK(failed.has == MR_FAILURE_HAS_SIGNAL && failed.signal == SIGABRT);

    /* It ends its process by itself. */
    OK(mr_run_begin(exec, &run));
    OK(mr_submit_args(run, leave_, one(cell, MR_INOUT, 77), NULL, NULL, NULL));
    FAILS(MR_ERR_TASK, "exited with code 77", mr_run_end(run));
    failed = failure();
    CHECK(failed.has == MR_FAILURE_HAS_EXIT_STATUS && failed.exit_status == 77);

    /* More words than are kept: the number is still there. */
    OK(mr_run_begin(exec, &run));
    OK(mr_submit_args(run, talk_, one(cell, MR_INOUT, -1), NULL, NULL, NULL));
    CHECK(mr_run_end(run) == MR_ERR_TASK);
    failed = failure();
    CHECK(failed.has == MR_FAILURE_HAS_RETURNED && failed.returned == -5);
    OK(mr_args_clear(args));
    OK(mr_args_add_tensor(args, &cell, MR_INOUT));
    OK(mr_args_add_tensor(args, &count, MR_INOUT));
    OK(mr_args_add_scalar(args, 2));

    /* Two attempts are lost, the third one ends; what the lost ones wrote is taken back. */
    OK(mr_task_options_init(&options));
    options.retries = 2;
    options.snapshot = 1;
    data[0] = 10;
    OK(mr_run_begin(exec, &run));
    OK(mr_submit_args(run, die_, args, NULL, &options, NULL));
    OK(mr_run_end(run));
    CHECK(data[0] == 11 && data[1] == 3);

    /* As idempotent: nothing is taken back. */
    options.snapshot = 0, options.idempotent = 1;
    data[0] = 10;
    OK(mr_run_begin(exec, &run));
    OK(mr_submit_args(run, die_, args, NULL, &options, NULL));
    OK(mr_run_end(run));
    CHECK(data[0] == 13 && data[1] == 3);
    OK(mr_executor_stats(exec, &stats));
    CHECK(stats.deaths == 6 && stats.last_death_ns > 0 && stats.submitted >= 3);

    /* A deadline that the function does not keep. */
    OK(mr_task_options_init(&options));
    options.deadline_us = 50000;
    OK(mr_run_begin(exec, &run));
    OK(mr_submit_args(run, deaf_, one(cell, MR_OUTPUT, -1), NULL, &options, NULL));
    FAILS(MR_ERR_TASK, "missed its deadline", mr_run_end(run));
    CHECK(failure().kind == MR_FAILURE_DEADLINE);
    OK(mr_buffer_free(buffer));
}

static void pids(mr_executor *exec) {
    uint32_t pids[3] = {0, 0, 1};
    size_t count, workers;
    int busy;
    OK(mr_executor_pids(exec, pids, 2, &count));
    CHECK(count == 3 && pids[0] > 1 && pids[1] > 1 && pids[2] == 1);
    OK(mr_executor_workers(exec, MR_NEXT_LEVEL, &workers));
    CHECK(workers == 2);
    OK(mr_executor_workers(exec, MR_SUB, &workers));
    CHECK(workers == 1);
    OK(mr_executor_busy(exec, 2, &busy));
    CHECK(busy == 0);
}

static void cancelling(mr_executor *exec) {
    mr_buffer *buffer;
    mr_run_handle *run;
    mr_pending *pending;
    mr_task task, behind;
    uint64_t cancelled;
    int open, finished, done, busy0, busy1;
    double since;
    uint64_t *data = words(exec, 2, &buffer);
    mr_tensor cell = at((uint64_t)(uintptr_t)data);

    /* A task that runs, and one that has not begun. */
    OK(mr_run_begin(exec, &run));
    OK(mr_submit_args(run, hang_, one(cell, MR_OUTPUT, -1), NULL, NULL, &task));
    OK(mr_submit_args(run, add_, one(cell, MR_INOUT, 1), NULL, NULL, &behind));
    await(data, 1);
    OK(mr_executor_busy(exec, 0, &busy0));
    OK(mr_executor_busy(exec, 1, &busy1));
    CHECK(busy0 + busy1 == 1);
    OK(mr_cancel(run, &task, &open));
    CHECK(open == 1);
    FAILS(MR_ERR_TASK, "was cancelled", mr_wait(run, &behind));
    CHECK(failure().kind == MR_FAILURE_CANCELLED && failure().task == task.id);
    OK(mr_cancel(run, &task, &open));
    CHECK(open == 0);
    FAILS(MR_ERR_TASK, "`hang`) was cancelled", mr_run_end(run));
    CHECK(data[0] == 1);

    /* A scope. */
    data[0] = 0;
    OK(mr_run_begin(exec, &run));
    OK(mr_submit_args(run, add_, one(at((uint64_t)(uintptr_t)&data[1]), MR_INOUT, 4), NULL, NULL, NULL));
    OK(mr_scope_begin(run));
    OK(mr_submit_args(run, hang_, one(cell, MR_OUTPUT, -1), NULL, NULL, NULL));
    OK(mr_submit_args(run, add_, one(cell, MR_INOUT, 1), NULL, NULL, NULL));
    await(data, 1);
    OK(mr_cancel_scope(run, &cancelled));
    CHECK(cancelled == 2);
    OK(mr_scope_end(run));
    CHECK(mr_run_end(run) == MR_ERR_TASK && data[0] == 1 && data[1] == 4);

    /* The end of a run with a time-out: the run is closed, and ends later. */
    data[0] = 0;
    OK(mr_run_begin(exec, &run));
    OK(mr_submit_args(run, hang_, one(cell, MR_OUTPUT, -1), NULL, NULL, &task));
    finished = 5;
    since = now();
    OK(mr_run_end_for(run, 20000000, &finished));
    CHECK(finished == 0 && now() - since >= 0.02);
    FAILS(MR_ERR_MISUSE, "was closed", mr_submit_args(run, hang_, args, NULL, NULL, NULL));
    OK(mr_run_end_for(run, 0, NULL));
    OK(mr_run_detach(run, &pending));
    OK(mr_pending_cancel(pending, NULL));
    OK(mr_pending_free(pending));
    data[0] = 0;
    OK(mr_run_begin(exec, &run));
    OK(mr_run_end_for(run, MR_FOREVER, &finished));
    CHECK(finished == 1);
    FAILS(MR_ERR_HANDLE, "closed", mr_run_end_for(run, 0, NULL));
    OK(mr_args_clear(args));
    OK(mr_args_add_scalar(args, 8));
    OK(mr_run_begin(exec, &run));
    OK(mr_submit_args(run, say_, args, NULL, NULL, NULL));
    finished = 5;
    FAILS(MR_ERR_TASK, "it returned 8", mr_run_end_for(run, MR_FOREVER, &finished));
    CHECK(finished == 1);

    /* A detached run: waiting has an end, and cancelling does not wait. */
    data[0] = 0;
    OK(mr_run_begin(exec, &run));
    OK(mr_submit_args(run, hang_, one(cell, MR_OUTPUT, -1), NULL, NULL, NULL));
    OK(mr_run_detach(run, &pending));
    FAILS(MR_ERR_HANDLE, "closed", mr_scope_begin(run));
    OK(mr_pending_done(pending, &done));
    since = now();
    OK(mr_pending_wait(pending, 30000000, &finished));
    CHECK(done == 0 && finished == 0 && now() - since >= 0.03);
    OK(mr_pending_wait(pending, 0, &finished));
    CHECK(finished == 0);
    OK(mr_run_begin(exec, &run)); /* others go on meanwhile */
    OK(mr_run_end(run));
    await(data, 1);
    OK(mr_pending_cancel(pending, &cancelled));
    CHECK(cancelled == 1);
    finished = 5;
    FAILS(MR_ERR_TASK, "cancelled", mr_pending_wait(pending, MR_FOREVER, &finished));
    CHECK(finished == 1);
    FAILS(MR_ERR_TASK, "cancelled", mr_pending_wait(pending, 1, &finished));
    OK(mr_pending_done(pending, &done));
    CHECK(done == 1);
    OK(mr_pending_free(pending));
    OK(mr_buffer_free(buffer));
}

static void groups(mr_executor *exec) {
    mr_buffer *buffer;
    mr_run_handle *run;
    const mr_args *members[2];
    uint64_t *data = words(exec, 2, &buffer);
    mr_tensor cells;
    mr_failure failed;
    OK(mr_buffer_tensor(buffer, &cells));
    members[0] = members[1] = one(cells, MR_NO_DEP, -1);
    OK(mr_run_begin(exec, &run));
    for (int i = 0; i < 20; i++) {
        OK(mr_submit_group(run, meet_, members, 2, NULL, NULL, NULL));
    }
    OK(mr_run_end(run));
    CHECK(data[0] == 1 && data[1] == 1);

    OK(mr_args_add_scalar(args, 1));
    OK(mr_run_begin(exec, &run));
    OK(mr_submit_group(run, meet_, members, 2, NULL, NULL, NULL));
    FAILS(MR_ERR_TASK, "member 1", mr_run_end(run));
    failed = failure();
    CHECK(failed.member == 1 && failed.kind == MR_FAILURE_ERROR);
    OK(mr_buffer_free(buffer));
}

static void late(mr_executor *exec, const char *library, const char *place) {
    mr_buffer *buffer;
    mr_run_handle *run;
    mr_callable triple, again, complain;
    char path[4096];
    uint64_t *data = words(exec, 1, &buffer);
    mr_tensor cell = at((uint64_t)(uintptr_t)data);
    FILE *file;

    OK(mr_register_library(exec, library, "dynamic_triple", &triple));
    OK(mr_register_library(exec, library, "dynamic_triple", &again));
    CHECK(triple == again && triple != add_);
    OK(mr_register_library(exec, library, "dynamic_complain", &complain));
    CHECK(complain != triple);
    FAILS(MR_ERR_LIBRARY, "no such symbol",
          mr_register_library(exec, library, "dynamic_missing", &again));
    FAILS(MR_ERR_LIBRARY, "a symbol 1 to", mr_register_library(exec, library, "", &again));
    *data = 7;
    OK(mr_run_begin(exec, &run));
    OK(mr_submit_args(run, triple, one(cell, MR_INOUT, -1), NULL, NULL, NULL));
    OK(mr_submit_args(run, triple, one(cell, MR_INOUT, -1), NULL, NULL, NULL));
    OK(mr_submit_args(run, complain, one(cell, MR_INOUT, -1), NULL, NULL, NULL));
    FAILS(MR_ERR_TASK, "`dynamic_complain`) failed", mr_run_end(run));
    CHECK(*data == 63 && strstr(mr_last_error(), "of its own (it returned 4)") != NULL);

    OK(mr_unregister(exec, triple));
    FAILS(MR_ERR_FUNCTION, "not a registered function", mr_unregister(exec, triple));
    OK(mr_run_begin(exec, &run));
    FAILS(MR_ERR_FUNCTION, "not a registered function",
          mr_submit_args(run, triple, one(cell, MR_INOUT, -1), NULL, NULL, NULL));
    OK(mr_run_end(run));

    /* What is not a function, and what is not a file. */
    FAILS(MR_ERR_LIBRARY, "not a function", mr_register_library(exec, library, "dynamic_number", &again));
    FAILS(MR_ERR_LIBRARY, "not a regular file", mr_register_library(exec, "/dev/zero", "x", &again));
    FAILS(MR_ERR_LIBRARY, "not a regular file", mr_register_library(exec, place, "x", &again));
    snprintf(path, sizeof path, "%s/pipe", place);
    CHECK(mkfifo(path, 0600) == 0 || errno == EEXIST);
    FAILS(MR_ERR_LIBRARY, "not a regular file", mr_register_library(exec, path, "x", &again));
    snprintf(path, sizeof path, "%s/sparse", place);
    file = fopen(path, "w");
    CHECK(file != NULL && ftruncate(fileno(file), (off_t)1 << 40) == 0 && fclose(file) == 0);
    FAILS(MR_ERR_LIBRARY, "at most 1073741824", mr_register_library(exec, path, "x", &again));
    CHECK(unlink(path) == 0);

    /* A shared object that is none. */
    snprintf(path, sizeof path, "%s/broken.so", place);
    file = fopen(path, "w");
    CHECK(file != NULL && fputs("no ELF at all", file) >= 0 && fclose(file) == 0);
    FAILS(MR_ERR_LIBRARY, "not a shared object", mr_register_library(exec, path, "x", &again));
    OK(mr_buffer_free(buffer));
}

/* The body of a run that returns what it is told. */
static int returns(mr_run_handle *run, void *user) {
    mr_status status;
    switch (*(int *)user) {
    case 1: return 1234;
    case 2: /* what a failing call returned, with its own text */
        status = mr_submit_args(run, 9999, args, NULL, NULL, NULL);
        CHECK(status == MR_ERR_FUNCTION);
        return status;
    case 3: return MR_ERR_SCOPE; /* which did not fail */
    case 4:
        OK(mr_args_clear(args));
        OK(mr_args_add_scalar(args, 8));
        return mr_submit_args(run, say_, args, NULL, NULL, NULL);
    default: return 0;
    }
}

static void bodies_of_runs(mr_executor *exec) {
    int what = 0;
    mr_run_handle *run;
    OK(mr_run(exec, returns, &what));
    what = 1;
    FAILS(1234, "the body of the run returned 1234", mr_run(exec, returns, &what));
    what = 2;
    FAILS(MR_ERR_FUNCTION, "0x270f", mr_run(exec, returns, &what));
    what = 3;
    FAILS(MR_ERR_SCOPE, "the body of the run returned -29", mr_run(exec, returns, &what));
    what = 4;
    FAILS(MR_ERR_TASK, "it returned 8", mr_run(exec, returns, &what));
    OK(mr_run_begin(exec, &run)); /* all of them were closed */
    OK(mr_run_end(run));
}

/* Closing while a run is open, while one is detached, and with buffers. */
static void closing(mr_executor *exec) {
    mr_buffer *buffer;
    mr_run_handle *run;
    mr_pending *pending;
    uint64_t *data = words(exec, 1, &buffer);
    *data = 42;
    OK(mr_run_begin(exec, &run));
    OK(mr_submit_args(run, hang_, one(at((uint64_t)(uintptr_t)data), MR_OUTPUT, -1), NULL, NULL, NULL));
    OK(mr_run_detach(run, &pending));
    OK(mr_run_begin(exec, &run));
    OK(mr_executor_close(exec));
    FAILS(MR_ERR_HANDLE, "closed", mr_executor_close(exec));
    FAILS(MR_ERR_FAILED, "was closed", mr_submit_args(run, show_, args, NULL, NULL, NULL));
    CHECK(mr_run_end(run) != MR_ERR_HANDLE);
    CHECK(mr_pending_wait(pending, MR_FOREVER, NULL) != MR_ERR_HANDLE);
    OK(mr_pending_free(pending));
    *data += 1;
    OK(mr_buffer_free(buffer));
}

int main(int argc, char **argv) {
    mr_executor *exec;
    CHECK(argc == 3);
    OK(mr_args_new(&args));
    for (uint32_t mode = MR_MODE_PROCESS; mode <= MR_MODE_THREAD; mode++) {
        exec = build(mode);
        outputs_and_scopes(exec);
        errors(exec);
        cancelling(exec);
        groups(exec);
        bodies_of_runs(exec);
        late(exec, argv[1], argv[2]);
        if (mode == MR_MODE_PROCESS) {
            pids(exec);
            deaths(exec);
        }
        closing(exec);
    }
    OK(mr_args_free(args));
    puts("ok");
    return 0;
}
