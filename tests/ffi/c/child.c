/* A child that the program forks by itself: errors, not crashes, and the parent goes on. */
#include <pthread.h>
#include <sys/wait.h>

#include "check.h"

static int add(const mr_task_args_view *args, const mr_call_config *config,
               const mr_task_context *context, void *user) {
    UNUSED(config), UNUSED(context), UNUSED(user);
    *(uint64_t *)mr_view_data(args, 0) += 1;
    return 0;
}

static mr_callable callable;

static mr_executor *build(void) {
    mr_options options = small(1);
    mr_builder *builder;
    mr_executor *exec;
    OK(mr_builder_new(&options, &builder));
    OK(mr_register(builder, "add", add, NULL, &callable));
    OK(mr_build(builder, &exec));
    return exec;
}

static void use(mr_executor *exec) {
    mr_buffer *buffer;
    mr_run_handle *run;
    mr_args *args;
    uint64_t *data = words(exec, 1, &buffer);
    mr_tensor cell = at((uint64_t)(uintptr_t)data);
    OK(mr_args_new(&args));
    OK(mr_args_add_tensor(args, &cell, MR_INOUT));
    OK(mr_run_begin(exec, &run));
    for (int i = 0; i < 100; i++) {
        OK(mr_submit_args(run, callable, args, NULL, NULL, NULL));
    }
    OK(mr_run_end(run));
    CHECK(*data == 100);
    OK(mr_args_free(args));
    OK(mr_buffer_free(buffer));
}

static int stop;

/* Takes the library's locks all the time, so that forks happen while they are held. */
static void *busy(void *nothing) {
    while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
        mr_args *args;
        OK(mr_args_new(&args));
        OK(mr_args_free(args));
    }
    return nothing;
}

int main(void) {
    mr_executor *exec = build();
    mr_builder *builder;
    mr_buffer *buffer;
    mr_args *args;
    mr_run_handle *run;
    mr_pending *pending;
    mr_options options = small(1);
    mr_stats stats = {.size = sizeof stats};
    mr_task task = {0, 0, 0};
    size_t count;
    void *data;
    pthread_t thread;

    OK(mr_builder_new(&options, &builder));
    words(exec, 1, &buffer);
    OK(mr_args_new(&args));
    OK(mr_run_begin(exec, &run));
    OK(mr_run_detach(run, &pending));
    OK(mr_run_begin(exec, &run));
    CHECK(pthread_create(&thread, NULL, busy, NULL) == 0);
    for (int i = 0; i < 50; i++) {
        pid_t child = fork();
        int status;
        CHECK(child >= 0);
        if (child == 0) {
            alarm(20); /* a lock that nobody gives back would be a hang */
#define FOREIGN(call) FAILS(MR_ERR_HANDLE, "before a fork", call)
            FOREIGN(mr_executor_stats(exec, &stats));
            FOREIGN(mr_executor_pids(exec, NULL, 0, &count));
            FOREIGN(mr_executor_close(exec));
            FOREIGN(mr_run_begin(exec, &run));
            FOREIGN(mr_submit_args(run, callable, args, NULL, NULL, NULL));
            FOREIGN(mr_wait(run, &task));
            FOREIGN(mr_run_end(run));
            FOREIGN(mr_pending_wait(pending, MR_FOREVER, NULL));
            FOREIGN(mr_pending_cancel(pending, NULL));
            FOREIGN(mr_buffer_data(buffer, &data, NULL));
            FOREIGN(mr_buffer_free(buffer));
            FOREIGN(mr_args_add_scalar(args, 1));
            FOREIGN(mr_args_free(args));
            FOREIGN(mr_build(builder, &exec));
            FOREIGN(mr_builder_free(builder));
            if (i % 10 == 0) { /* it can have its own */
                mr_executor *own = build();
                CHECK(own != exec);
                use(own);
                FOREIGN(mr_executor_close(exec));
                OK(mr_executor_close(own));
                FAILS(MR_ERR_HANDLE, "closed", mr_executor_close(own));
            }
            _exit(i % 2 == 0 ? 0 : 3);
        }
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == (i % 2 == 0 ? 0 : 3));
    }
    __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
    CHECK(pthread_join(thread, NULL) == 0);
    OK(mr_submit_args(run, callable, args, NULL, NULL, &task));
    CHECK(mr_wait(run, &task) == MR_ERR_TASK); /* it has no tensor: its worker dies of it */
    CHECK(mr_run_end(run) == MR_ERR_TASK);
    OK(mr_pending_free(pending));
    use(exec);
    OK(mr_args_free(args));
    OK(mr_buffer_free(buffer));
    OK(mr_builder_free(builder));
    OK(mr_executor_close(exec));
    puts("ok");
    return 0;
}
