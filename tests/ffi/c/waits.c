/* Waiting: time-outs, descriptors, order that is asked for, and closing while others wait. */
#include <poll.h>
#include <pthread.h>
#include <time.h>

#include "check.h"

#define ARGUMENTS                                                                                 \
    const mr_task_args_view *args, const mr_call_config *config, const mr_task_context *context,  \
        void *user

static uint64_t *word(const mr_task_args_view *args) { return (uint64_t *)mr_view_data(args, 0); }

/* Says that it runs, and then waits to be cancelled. */
static int hang(ARGUMENTS) {
    UNUSED(config), UNUSED(user);
    __atomic_store_n(word(args), 1, __ATOMIC_SEQ_CST);
    while (!context->cancelled(context)) {
        usleep(200);
    }
    return 0;
}

/* Does not look. */
static int deaf(ARGUMENTS) {
    UNUSED(config), UNUSED(context), UNUSED(user);
    __atomic_store_n(word(args), 1, __ATOMIC_SEQ_CST);
    sleep(1000);
    return 0;
}

/* Appends its scalar, a digit, to the word. Fails if that is 9. */
static int append(ARGUMENTS) {
    UNUSED(config), UNUSED(context), UNUSED(user);
    usleep(5000 * (unsigned)(args->scalars[0] == 1));
    *word(args) = 10 * *word(args) + args->scalars[0];
    return args->scalars[0] == 9;
}

/* What a function of a task must not do to its own executor. */
static int closes(ARGUMENTS) {
    mr_executor *inside = (mr_executor *)(uintptr_t)args->scalars[0];
    mr_run_handle *run;
    UNUSED(config), UNUSED(context), UNUSED(user);
    word(args)[0] = (uint64_t)(int64_t)mr_executor_close(inside);
    word(args)[1] = (uint64_t)(int64_t)mr_executor_close_for(inside, 0);
    word(args)[2] = (uint64_t)(int64_t)mr_run_begin_for(inside, 0, &run);
    return 0;
}

static mr_callable hang_, deaf_, append_, closes_;

static mr_executor *build(mr_mode mode) {
    mr_options options = small(2);
    mr_builder *builder;
    mr_executor *exec;
    options.mode = mode;
    OK(mr_builder_new(&options, &builder));
    OK(mr_register(builder, "hang", hang, NULL, &hang_));
    OK(mr_register(builder, "deaf", deaf, NULL, &deaf_));
    OK(mr_register(builder, "append", append, NULL, &append_));
    OK(mr_register(builder, "closes", closes, NULL, &closes_));
    OK(mr_build(builder, &exec));
    return exec;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static mr_status submit(mr_run_handle *run, mr_callable callable, uint64_t *data, mr_tag tag,
                        uint64_t scalar, const mr_task_options *options, mr_task *out) {
    mr_tensor cell = at((uint64_t)(uintptr_t)data);
    mr_submission task = {sizeof task, callable, &cell, &tag, 1, &scalar, 1, NULL, options};
    return mr_submit(run, &task, out);
}

static int readable(int fd, int ms) {
    struct pollfd poll_ = {fd, POLLIN, 0};
    return poll(&poll_, 1, ms);
}

static void time_outs(mr_executor *exec, uint64_t *data) {
    mr_run_handle *run, *other = NULL;
    mr_pending *pending;
    mr_task task;
    int finished = 5, open, failed = 5, fd = -1, again = -1;
    double since = now();

    data[0] = 0;
    OK(mr_run_begin(exec, &run));
    OK(submit(run, hang_, data, MR_OUTPUT_EXISTING, 0, NULL, &task));
    OK(mr_wait_for(run, &task, 20000000, &finished));
    CHECK(finished == 0 && now() - since >= 0.02);
    OK(mr_wait_for(run, &task, 0, NULL));
    OK(mr_run_failed(run, &failed));
    CHECK(failed == 0);
    await(data, 1);
    OK(mr_cancel(run, &task, &open));
    FAILS(MR_ERR_TASK, "cancelled", mr_wait_for(run, &task, MR_FOREVER, &finished));
    CHECK(finished == 1);
    OK(mr_run_failed(run, &failed));
    CHECK(failed == 1);
    FAILS(MR_ERR_TASK, "cancelled", mr_run_end(run));

    /* A descriptor for the end of a detached run. */
    data[0] = 0;
    OK(mr_run_begin(exec, &run));
    OK(submit(run, hang_, data, MR_OUTPUT_EXISTING, 0, NULL, NULL));
    OK(submit(run, append_, data, MR_INOUT, 1, NULL, NULL));
    OK(mr_run_detach(run, &pending));
    OK(mr_pending_fd(pending, &fd));
    OK(mr_pending_fd(pending, &again));
    CHECK(fd == again && fd > 2 && readable(fd, 20) == 0);
    await(data, 1);
    OK(mr_pending_failed(pending, &failed));
    CHECK(failed == 0);
    OK(mr_pending_cancel(pending, NULL));
    CHECK(readable(fd, 10000) == 1 && readable(fd, 0) == 1);
    OK(mr_pending_done(pending, &finished));
    OK(mr_pending_failed(pending, &failed));
    CHECK(finished == 1 && failed == 1);
    OK(mr_pending_free(pending));

    /* Many of them, some freed before their end. */
    for (int round = 0; round < 50; round++) {
        mr_pending *several[4];
        int fds[4];
        for (int i = 0; i < 4; i++) {
            OK(mr_run_begin(exec, &run));
            OK(submit(run, append_, data, MR_INOUT, 0, NULL, NULL));
            OK(submit(run, append_, &data[1 + i], MR_INOUT, 0, NULL, NULL));
            OK(mr_run_detach(run, &several[i]));
            OK(mr_pending_fd(several[i], &fds[i]));
        }
        OK(mr_pending_free(several[1]));
        CHECK(readable(fds[3], 10000) == 1 && readable(fds[0], 10000) == 1);
        CHECK(readable(fds[2], 10000) == 1);
        for (int i = 0; i < 4; i++) {
            if (i != 1) {
                OK(mr_pending_free(several[i]));
            }
        }
    }
    UNUSED(other);
}

struct waiter {
    mr_executor *exec;
    mr_status status;
    uint64_t timeout;
};

static void *begins(void *waiter_) {
    struct waiter *waiter = (struct waiter *)waiter_;
    mr_run_handle *run;
    waiter->status = mr_run_begin_for(waiter->exec, waiter->timeout, &run);
    if (waiter->status == MR_OK) {
        OK(mr_run_end(run));
    }
    return NULL;
}

static void *opens(void *exec) {
    mr_run_handle *run;
    OK(mr_run_begin((mr_executor *)exec, &run));
    return run;
}

/* Begins wait in turn; one that goes away does not hold up those behind it. */
static void turns(mr_executor *exec) {
    struct waiter waiters[3] = {{exec, 5, MR_FOREVER}, {exec, 5, 20000000}, {exec, 5, MR_FOREVER}};
    pthread_t threads[3];
    mr_run_handle *run;
    OK(mr_run_begin(exec, &run));
    for (int i = 0; i < 3; i++) {
        CHECK(pthread_create(&threads[i], NULL, begins, &waiters[i]) == 0);
        usleep(2000);
    }
    CHECK(pthread_join(threads[1], NULL) == 0 && waiters[1].status == MR_ERR_TIMEOUT);
    OK(mr_run_end(run));
    CHECK(pthread_join(threads[0], NULL) == 0 && waiters[0].status == MR_OK);
    CHECK(pthread_join(threads[2], NULL) == 0 && waiters[2].status == MR_OK);
}

/* Closing wakes whoever waits for a run, also when the thread that opened one is gone. */
static void close_wakes(mr_mode mode) {
    mr_executor *exec = build(mode);
    struct waiter waiters[2] = {{exec, 5, MR_FOREVER}, {exec, 5, MR_FOREVER}};
    pthread_t opener, threads[2];
    void *run;
    double since;
    CHECK(pthread_create(&opener, NULL, opens, exec) == 0 && pthread_join(opener, &run) == 0);
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_create(&threads[i], NULL, begins, &waiters[i]) == 0);
    }
    usleep(20000);
    since = now();
    OK(mr_executor_close(exec));
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0 && waiters[i].status == MR_ERR_FAILED);
    }
    CHECK(now() - since < 10);
    FAILS(MR_ERR_HANDLE, "closed", mr_run_begin(exec, (mr_run_handle **)&run));
    CHECK(mr_run_end((mr_run_handle *)run) != MR_ERR_HANDLE);
}

/* A poll for the end of a run ends with the executor; the grace is given once. */
static void done_after_close(void) {
    mr_executor *exec = build(MR_MODE_PROCESS);
    mr_buffer *buffer;
    uint64_t *data = words(exec, 1, &buffer);
    mr_run_handle *run;
    mr_pending *pending;
    int done = 5, fd;
    double took;
    OK(mr_run_begin(exec, &run));
    OK(submit(run, deaf_, data, MR_OUTPUT_EXISTING, 0, NULL, NULL));
    OK(mr_run_detach(run, &pending));
    OK(mr_pending_fd(pending, &fd));
    await(data, 1);
    took = now();
    OK(mr_executor_close(exec)); /* the grace is 0.3 s */
    took = now() - took;
    CHECK(took >= 0.25 && took < 0.55);
    OK(mr_pending_done(pending, &done));
    CHECK(done == 1 && readable(fd, 5000) == 1);
    CHECK(mr_pending_wait(pending, MR_FOREVER, NULL) != MR_OK);
    OK(mr_pending_free(pending));
    OK(mr_buffer_free(buffer));
}

static void close_drains(void) {
    mr_executor *exec = build(MR_MODE_PROCESS);
    mr_buffer *buffer;
    uint64_t *data = words(exec, 2, &buffer);
    mr_run_handle *run;
    mr_pending *pending;
    int done;
    OK(mr_run_begin(exec, &run));
    for (int i = 0; i < 6; i++) {
        OK(submit(run, append_, data, MR_INOUT, 1, NULL, NULL));
    }
    OK(mr_run_detach(run, &pending));
    OK(mr_executor_close_for(exec, MR_FOREVER));
    CHECK(data[0] == 111111);
    OK(mr_pending_done(pending, &done));
    CHECK(done == 1);
    FAILS(MR_ERR_HANDLE, "closed", mr_executor_close_for(exec, 0));
    OK(mr_pending_free(pending));
    OK(mr_buffer_free(buffer));

    exec = build(MR_MODE_PROCESS);
    data = words(exec, 1, &buffer);
    OK(mr_run_begin(exec, &run));
    OK(submit(run, hang_, data, MR_OUTPUT_EXISTING, 0, NULL, NULL));
    OK(mr_run_detach(run, &pending));
    FAILS(MR_ERR_TIMEOUT, "`hang`", mr_executor_close_for(exec, 20000000));
    FAILS(MR_ERR_HANDLE, "closed", mr_executor_close(exec));
    CHECK(mr_pending_wait(pending, MR_FOREVER, NULL) == MR_ERR_TASK);
    OK(mr_pending_free(pending));
    OK(mr_buffer_free(buffer));
}

static void close_inside(mr_mode mode) {
    mr_executor *exec;
    mr_buffer *buffer;
    uint64_t *data;
    mr_run_handle *run;
    mr_status expected = mode == MR_MODE_THREAD ? MR_ERR_MISUSE : MR_ERR_HANDLE;
    exec = build(mode);
    data = words(exec, 3, &buffer);
    OK(mr_run_begin(exec, &run));
    OK(submit(run, closes_, data, MR_OUTPUT_EXISTING, (uintptr_t)exec, NULL, NULL));
    OK(mr_run_end(run));
    for (int i = 0; i < 3; i++) {
        CHECK((mr_status)(int64_t)data[i] == expected);
    }
    OK(mr_run_begin(exec, &run)); /* nothing was closed */
    OK(mr_run_end(run));
    OK(mr_buffer_free(buffer));
    OK(mr_executor_close(exec));
}

/* Order that no bytes tell. */
static void order(mr_executor *exec, uint64_t *data) {
    mr_run_handle *run;
    mr_task_options options;
    mr_task first, second, failing, old;
    OK(mr_task_options_init(&options));
    data[0] = 0;
    OK(mr_run_begin(exec, &run));
    OK(submit(run, append_, data, MR_NO_DEP, 1, NULL, &first));
    options.after = &first, options.after_count = 1;
    OK(submit(run, append_, data, MR_NO_DEP, 2, &options, &second));
    options.after = &second;
    OK(submit(run, append_, data, MR_NO_DEP, 9, &options, &failing));
    options.after = NULL, options.after_count = 0;
    options.after_any = &failing, options.after_any_count = 1;
    OK(submit(run, append_, data, MR_NO_DEP, 3, &options, &first));
    OK(mr_wait(run, &first));
    CHECK(data[0] == 1293);
    options.after = &failing, options.after_count = 1, options.after_any_count = 0;
    OK(submit(run, append_, data, MR_NO_DEP, 4, &options, &second));
    FAILS(MR_ERR_TASK, "it returned 1", mr_wait(run, &second));
    CHECK(data[0] == 1293);
    options.after = NULL;
    FAILS(MR_ERR_NULL, "after", submit(run, append_, data, MR_NO_DEP, 4, &options, NULL));
    old = first;
    CHECK(mr_run_end(run) == MR_ERR_TASK);
    OK(mr_run_begin(exec, &run));
    options.after = &old;
    FAILS(MR_ERR_TASK_HANDLE, "not a task of this run",
          submit(run, append_, data, MR_NO_DEP, 4, &options, NULL));
    OK(mr_run_end(run));
}

int main(void) {
    for (int mode = MR_MODE_PROCESS; mode <= MR_MODE_THREAD; mode++) {
        mr_executor *exec = build((mr_mode)mode);
        mr_buffer *buffer;
        uint64_t *data = words(exec, 8, &buffer);
        time_outs(exec, data);
        turns(exec);
        order(exec, data);
        OK(mr_buffer_free(buffer));
        OK(mr_executor_close(exec));
        close_wakes((mr_mode)mode);
        close_inside((mr_mode)mode);
    }
    done_after_close();
    close_drains();
    puts("ok");
    return 0;
}
