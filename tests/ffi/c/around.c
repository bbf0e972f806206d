/* What is around tasks: the log, destructors of user, memory that runs out, many registrations. */
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "check.h"

static int die(const mr_task_args_view *args, const mr_call_config *config,
               const mr_task_context *context, void *user) {
    UNUSED(args), UNUSED(config), UNUSED(context), UNUSED(user);
    abort();
}

static int fine(const mr_task_args_view *args, const mr_call_config *config,
                const mr_task_context *context, void *user) {
    UNUSED(args), UNUSED(config), UNUSED(context);
    return *(int *)user == 1 ? 0 : 1;
}

static int lines, warnings;
static pid_t host;

static void log_line(mr_log_level level, const char *message, void *user) {
    CHECK(*(int *)user == 7 && getpid() == host);
    CHECK(level >= MR_LOG_ERROR && level <= MR_LOG_INFO && strchr(message, '\n') == NULL);
    CHECK(mr_set_log(MR_LOG_OFF, NULL, NULL) == MR_ERR_MISUSE);
    __atomic_fetch_add(&lines, 1, __ATOMIC_SEQ_CST);
    if (level == MR_LOG_WARN && strstr(message, "worker died") != NULL) {
        __atomic_fetch_add(&warnings, 1, __ATOMIC_SEQ_CST);
    }
}

/* Counts in the host; in a worker nothing may be ended. */
static void destroy(void *user) {
    CHECK(getpid() == host && *(int *)user == 1);
    *(int *)user = 2;
}

static mr_executor *build(mr_mode mode, int *user, mr_callable *die_, mr_callable *fine_) {
    mr_options options = small(1);
    mr_builder *builder;
    mr_executor *exec;
    options.mode = mode;
    OK(mr_builder_new(&options, &builder));
    OK(mr_register(builder, "die", die, NULL, die_));
    OK(mr_register_with(builder, "fine", fine, user, destroy, fine_));
    CHECK(mr_register_with(builder, "fine", fine, user, destroy, fine_) == MR_ERR_DUPLICATE);
    CHECK(*user == 1);
    OK(mr_build(builder, &exec));
    return exec;
}

static void logging(void) {
    int seven = 7, user = 1, seen;
    mr_callable die_, fine_;
    mr_executor *exec;
    mr_run_handle *run;
    mr_submission task = {.size = sizeof task};
    OK(mr_set_log(MR_LOG_INFO, log_line, &seven));
    exec = build(MR_MODE_PROCESS, &user, &die_, &fine_);
    OK(mr_run_begin(exec, &run));
    task.callable = die_;
    OK(mr_submit(run, &task, NULL));
    CHECK(mr_run_end(run) == MR_ERR_TASK);
    OK(mr_run_begin(exec, &run));
    task.callable = fine_;
    OK(mr_submit(run, &task, NULL));
    OK(mr_run_end(run));
    CHECK(__atomic_load_n(&warnings, __ATOMIC_SEQ_CST) == 1 && lines >= 3);
    OK(mr_set_log(MR_LOG_OFF, log_line, &seven));
    seen = lines;
    CHECK(user == 1);
    OK(mr_executor_close(exec));
    CHECK(user == 2 && lines == seen);
}

static void destructors(void) {
    int user = 1;
    mr_callable die_, fine_;
    mr_executor *exec = build(MR_MODE_THREAD, &user, &die_, &fine_);
    mr_options options = small(1);
    mr_builder *builder;
    mr_run_handle *run;
    mr_submission task = {.size = sizeof task};
    task.callable = fine_;
    OK(mr_run_begin(exec, &run));
    OK(mr_submit(run, &task, NULL));
    OK(mr_run_end(run));
    CHECK(user == 1);
    OK(mr_executor_close(exec));
    CHECK(user == 2);

    user = 1; /* a builder that is freed */
    OK(mr_builder_new(&options, &builder));
    OK(mr_register_with(builder, "fine", fine, &user, destroy, &fine_));
    OK(mr_builder_free(builder));
    CHECK(user == 2);

    user = 1; /* one that cannot be built */
    options.slot_window = 17;
    OK(mr_builder_new(&options, &builder));
    OK(mr_register_with(builder, "fine", fine, &user, destroy, &fine_));
    CHECK(mr_build(builder, &exec) == MR_ERR_RING && user == 2);
}

/* Lists that grow until there is no memory: an error, and what is there stays. */
static void out_of_memory(void) {
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        unsigned long pages = 0;
        FILE *statm = fopen("/proc/self/statm", "r");
        struct rlimit limit;
        mr_args *args;
        mr_status said = MR_OK;
        size_t scalars, added = 0;
        CHECK(statm != NULL && fscanf(statm, "%lu", &pages) == 1 && fclose(statm) == 0);
        limit.rlim_cur = limit.rlim_max = pages * (rlim_t)getpagesize() + ((rlim_t)256 << 20);
        OK(mr_args_new(&args));
        CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
        while (said == MR_OK) {
            said = mr_args_add_scalar(args, 1);
            added += said == MR_OK;
        }
        CHECK(said == MR_ERR_MEMORY && strstr(mr_last_error(), "memory") != NULL);
        OK(mr_args_count(args, NULL, &scalars));
        CHECK(scalars == added && added > 1000000);
        OK(mr_args_free(args));
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Ten times as many registrations take about ten times as long. */
static void many_names(void) {
    static int user = 1;
    double took[2];
    for (int large = 0; large < 2; large++) {
        const int count = large ? 40000 : 4000;
        mr_options options = small(1);
        mr_builder *builder;
        char name[32];
        double since;
        OK(mr_builder_new(&options, &builder));
        since = now();
        for (int i = 0; i < count; i++) {
            mr_callable callable;
            snprintf(name, sizeof name, "function %d", i);
            OK(mr_register(builder, name, fine, &user, &callable));
        }
        took[large] = now() - since;
        FAILS(MR_ERR_DUPLICATE, "`function 3999`",
              mr_register(builder, "function 3999", fine, &user, &(mr_callable){0}));
        OK(mr_builder_free(builder));
    }
    CHECK(took[1] < 40 * took[0] + 0.1);
}

int main(void) {
    host = getpid();
    logging();
    destructors();
    out_of_memory();
    many_names();
    puts("ok");
    return 0;
}
