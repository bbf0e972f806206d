/* Several threads: an error is its own thread's; handles are closed while others use them. */
#include <pthread.h>

#include "check.h"

enum { THREADS = 4, ROUNDS = 2000 };

static int add(const mr_task_args_view *args, const mr_call_config *config,
               const mr_task_context *context, void *user) {
    UNUSED(config), UNUSED(context), UNUSED(user);
    if (args->tensor_count == 0) {
        return 1;
    }
    *(uint64_t *)mr_view_data(args, 0) += 1;
    return 0;
}

static mr_executor *build(mr_callable *callable) {
    mr_options options = small(1);
    mr_builder *builder;
    mr_executor *exec;
    OK(mr_builder_new(&options, &builder));
    OK(mr_register(builder, "add", add, NULL, callable));
    OK(mr_build(builder, &exec));
    return exec;
}

static pthread_t start(void *(*what)(void *), void *with) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, what, with) == 0);
    return thread;
}

static void join(pthread_t thread) { CHECK(pthread_join(thread, NULL) == 0); }

/* ---- errors ------------------------------------------------------------------------------- */

static pthread_barrier_t meet;

static void *own_error(void *which) {
    char part[32];
    CHECK(strcmp(mr_last_error(), "") == 0);
    snprintf(part, sizeof part, "%d is not a tag", 100 + (int)(intptr_t)which);
    for (int i = 0; i < 200; i++) {
        mr_tensor tensor = at(0);
        mr_args *args;
        OK(mr_args_new(&args));
        FAILS(MR_ERR_ARGUMENT, part,
              mr_args_add_tensor(args, &tensor, (mr_tag)(100 + (int)(intptr_t)which)));
        OK(mr_args_free(args)); /* leaves it as it is */
        pthread_barrier_wait(&meet);
        CHECK(strstr(mr_last_error(), part) == mr_last_error());
    }
    return NULL;
}

/* ---- one handle, several threads ---------------------------------------------------------- */

struct shared {
    mr_executor *exec;
    mr_run_handle *run;
    mr_callable add;
    mr_tensor cell;
    mr_args *args;
    int stop;
};

static void *submits(void *shared_) {
    struct shared *shared = (struct shared *)shared_;
    mr_args *args;
    OK(mr_args_new(&args));
    OK(mr_args_add_tensor(args, &shared->cell, MR_INOUT));
    for (int i = 0; i < ROUNDS; i++) {
        mr_task task;
        OK(mr_submit_args(shared->run, shared->add, args, NULL, NULL, &task));
        if (i % 500 == 0) {
            OK(mr_wait(shared->run, &task));
        }
    }
    OK(mr_args_free(args));
    return NULL;
}

static void *runs(void *shared_) {
    struct shared *shared = (struct shared *)shared_;
    mr_args *args;
    OK(mr_args_new(&args));
    OK(mr_args_add_tensor(args, &shared->cell, MR_INOUT));
    for (int i = 0; i < 100; i++) {
        mr_run_handle *run; /* waits for its turn */
        OK(mr_run_begin(shared->exec, &run));
        OK(mr_submit_args(run, shared->add, args, NULL, NULL, NULL));
        OK(mr_run_end(run));
    }
    OK(mr_args_free(args));
    return NULL;
}

/* Uses what another thread closes: it works, or it is refused. */
static void *uses(void *shared_) {
    struct shared *shared = (struct shared *)shared_;
    mr_stats stats = {.size = sizeof stats};
    while (!__atomic_load_n(&shared->stop, __ATOMIC_SEQ_CST)) {
        mr_status status = mr_args_add_scalar(shared->args, 1);
        mr_run_handle *run;
        CHECK(status == MR_OK || status == MR_ERR_HANDLE);
        status = mr_executor_stats(shared->exec, &stats);
        CHECK(status == MR_OK || status == MR_ERR_HANDLE);
        status = mr_run_begin(shared->exec, &run);
        if (status == MR_OK) {
            status = mr_submit_args(run, shared->add, shared->args, NULL, NULL, NULL);
            CHECK(status == MR_OK || status == MR_ERR_HANDLE || status == MR_ERR_FAILED);
            status = mr_run_end(run);
            CHECK(status == MR_OK || status == MR_ERR_FAILED || status == MR_ERR_TASK);
        } else {
            CHECK(status == MR_ERR_HANDLE || status == MR_ERR_FAILED);
        }
    }
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    struct shared shared;
    mr_buffer *buffer;
    uint64_t *data;

    memset(&shared, 0, sizeof shared);
    CHECK(pthread_barrier_init(&meet, NULL, THREADS) == 0);
    for (intptr_t i = 0; i < THREADS; i++) {
        threads[i] = start(own_error, (void *)i);
    }
    for (int i = 0; i < THREADS; i++) {
        join(threads[i]);
    }
    CHECK(strcmp(mr_last_error(), "") == 0);

    shared.exec = build(&shared.add);
    data = words(shared.exec, 1, &buffer);
    shared.cell = at((uint64_t)(uintptr_t)data);
    OK(mr_run_begin(shared.exec, &shared.run));
    for (int i = 0; i < THREADS; i++) {
        threads[i] = start(submits, &shared);
    }
    for (int i = 0; i < THREADS; i++) {
        join(threads[i]);
    }
    OK(mr_run_end(shared.run));
    CHECK(*data == THREADS * ROUNDS);
    for (int i = 0; i < THREADS; i++) {
        threads[i] = start(runs, &shared);
    }
    for (int i = 0; i < THREADS; i++) {
        join(threads[i]);
    }
    CHECK(*data == THREADS * ROUNDS + THREADS * 100);
    OK(mr_buffer_free(buffer));
    OK(mr_executor_close(shared.exec));

    for (int round = 0; round < 10; round++) {
        shared.exec = build(&shared.add);
        OK(mr_args_new(&shared.args));
        shared.stop = 0;
        for (int i = 0; i < 2; i++) {
            threads[i] = start(uses, &shared);
        }
        usleep(5000);
        OK(mr_args_free(shared.args));
        OK(mr_executor_close(shared.exec));
        usleep(1000);
        __atomic_store_n(&shared.stop, 1, __ATOMIC_SEQ_CST);
        for (int i = 0; i < 2; i++) {
            join(threads[i]);
        }
    }
    puts("ok");
    return 0;
}
