/* The loops of `mailring bench` in C, as a C program would write them: the same tasks as those in
 * Rust beside them. All of them return nanoseconds; a negative number is a status. */
#define _GNU_SOURCE
#include <mailring.h>
#include <stdlib.h>
#include <time.h>

enum { ELEMENTS = 1 << 15, INPUTS = 1 << 10, OUTPUTS = 1 << 13, TRIP_OUTPUTS = 1000 };
/* Tasks of a recorded graph. */
enum { GRAPH = 2048 };

struct bench {
    mr_executor *exec;
    mr_buffer *buffer;
    mr_callable empty;
    uint64_t *data;
    mr_recording *independent, *chain;
};

static int empty(const mr_task_args_view *args, const mr_call_config *config,
                 const mr_task_context *context, void *user) {
    (void)args, (void)config, (void)context, (void)user;
    return 0;
}

static uint64_t read_clock(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t now(void) { return read_clock(CLOCK_MONOTONIC); }

#define TRY(call)                                                                                 \
    do {                                                                                          \
        mr_status status_ = (call);                                                               \
        if (status_ != MR_OK) {                                                                   \
            return status_;                                                                       \
        }                                                                                         \
    } while (0)

/* One element each, from the first on. */
static mr_status cells(const struct bench *bench, size_t first, size_t count, mr_tensor *out) {
    for (size_t i = 0; i < count; i++) {
        const uint32_t one = 1;
        TRY(mr_tensor_init(&out[i], &bench->data[first + i], MR_UINT64, &one, 1));
    }
    return MR_OK;
}

/* The graphs that are recorded: independent tasks, and a chain. */
static int fill_independent(mr_run_handle *run, void *user) {
    static const mr_tag tags[2] = {MR_INPUT, MR_OUTPUT};
    for (size_t i = 0; i < GRAPH; i++) {
        uint64_t scalar = i;
        mr_tensor tensors[2];
        mr_submission task = {
            sizeof task, ((struct bench *)user)->empty, tensors, tags, 2, &scalar, 1, NULL, NULL};
        TRY(cells(user, i, 1, &tensors[0]));
        TRY(cells(user, GRAPH + i, 1, &tensors[1]));
        TRY(mr_submit(run, &task, NULL));
    }
    return MR_OK;
}

static int fill_chain(mr_run_handle *run, void *user) {
    static const mr_tag tag = MR_INOUT;
    mr_tensor link;
    TRY(cells(user, 0, 1, &link));
    for (size_t i = 0; i < GRAPH; i++) {
        uint64_t scalar = i;
        mr_submission task = {
            sizeof task, ((struct bench *)user)->empty, &link, &tag, 1, &scalar, 1, NULL, NULL};
        TRY(mr_submit(run, &task, NULL));
    }
    return MR_OK;
}

mr_status bench_c_build(struct bench *bench) {
    const uint32_t elements = ELEMENTS;
    mr_options options;
    mr_builder *builder;
    void *data;
    TRY(mr_options_init(&options));
    options.name = "mailring-bench-c";
    options.workers = 1;
    options.pin_cpus = 1;
    options.heap_bytes = options.buffer_bytes = 1 << 20;
    TRY(mr_builder_new(&options, &builder));
    TRY(mr_register(builder, "empty", empty, NULL, &bench->empty));
    TRY(mr_build(builder, &bench->exec));
    TRY(mr_buffer_new(bench->exec, MR_UINT64, &elements, 1, &bench->buffer));
    TRY(mr_buffer_data(bench->buffer, &data, NULL));
    bench->data = data;
    TRY(mr_record(bench->exec, fill_independent, bench, &bench->independent));
    return mr_record(bench->exec, fill_chain, bench, &bench->chain);
}

mr_status bench_c_end(struct bench *bench) {
    TRY(mr_recording_free(bench->independent));
    TRY(mr_recording_free(bench->chain));
    TRY(mr_buffer_free(bench->buffer));
    return mr_executor_close(bench->exec);
}

/* Submit, run, wait; each trip by itself. */
mr_status bench_c_round_trip(const struct bench *bench, size_t trips, uint64_t *times) {
    static const mr_tag tag = MR_OUTPUT;
    mr_tensor outputs[TRIP_OUTPUTS];
    mr_run_handle *run;
    TRY(cells(bench, 0, TRIP_OUTPUTS, outputs));
    TRY(mr_run_begin(bench->exec, &run));
    for (size_t trip = 0; trip < trips; trip++) {
        uint64_t begin = now(), scalar = trip;
        mr_task handle;
        mr_submission task = {
            sizeof task, bench->empty, &outputs[trip % TRIP_OUTPUTS], &tag, 1, &scalar, 1,
            NULL,        NULL};
        TRY(mr_submit(run, &task, &handle));
        TRY(mr_wait(run, &handle));
        times[trip] = now() - begin;
    }
    return mr_run_end(run);
}

/* Each with an input and an output of its own. */
mr_status bench_c_independent(const struct bench *bench, size_t tasks, uint64_t *time) {
    static const mr_tag tags[2] = {MR_INPUT, MR_OUTPUT};
    static mr_tensor inputs[INPUTS], outputs[OUTPUTS];
    mr_run_handle *run;
    uint64_t begin;
    TRY(cells(bench, 0, INPUTS, inputs));
    TRY(cells(bench, INPUTS, OUTPUTS, outputs));
    begin = now();
    TRY(mr_run_begin(bench->exec, &run));
    for (size_t i = 0; i < tasks; i++) {
        uint64_t scalar = i;
        mr_tensor tensors[2] = {inputs[i % INPUTS], outputs[i % OUTPUTS]};
        mr_submission task = {sizeof task, bench->empty, tensors, tags, 2, &scalar, 1, NULL, NULL};
        TRY(mr_submit(run, &task, NULL));
    }
    TRY(mr_run_end(run));
    *time = now() - begin;
    return MR_OK;
}

/* All reading and writing one element. */
mr_status bench_c_chain(const struct bench *bench, size_t tasks, uint64_t *time) {
    static const mr_tag tag = MR_INOUT;
    mr_tensor link;
    mr_run_handle *run;
    uint64_t begin;
    TRY(cells(bench, INPUTS + OUTPUTS, 1, &link));
    begin = now();
    TRY(mr_run_begin(bench->exec, &run));
    for (size_t i = 0; i < tasks; i++) {
        uint64_t scalar = i;
        mr_submission task = {sizeof task, bench->empty, &link, &tag, 1, &scalar, 1, NULL, NULL};
        TRY(mr_submit(run, &task, NULL));
    }
    TRY(mr_run_end(run));
    *time = now() - begin;
    return MR_OK;
}

/* A recording, replayed `times` in one run. */
mr_status bench_c_replay(const struct bench *bench, int chain, size_t times, uint64_t *time) {
    mr_run_handle *run;
    uint64_t begin = now();
    TRY(mr_run_begin(bench->exec, &run));
    for (size_t i = 0; i < times; i++) {
        TRY(mr_replay(run, chain ? bench->chain : bench->independent, NULL, NULL, 0));
    }
    TRY(mr_run_end(run));
    *time = now() - begin;
    return MR_OK;
}

/* Calls on arguments of one's own: clear, two tensors, a scalar. In time of the processor, since
 * two threads need two of them, and other programs are not what is measured. */
mr_status bench_c_args(size_t rounds, uint64_t *time) {
    const uint64_t word = 0;
    mr_tensor tensor;
    mr_args *args;
    uint64_t begin;
    TRY(mr_tensor_init(&tensor, &word, MR_UINT64, NULL, 0));
    TRY(mr_args_new(&args));
    begin = read_clock(CLOCK_THREAD_CPUTIME_ID);
    for (size_t i = 0; i < rounds; i++) {
        TRY(mr_args_clear(args));
        TRY(mr_args_add_tensor(args, &tensor, MR_INPUT));
        TRY(mr_args_add_tensor(args, &tensor, MR_OUTPUT));
        TRY(mr_args_add_scalar(args, i));
    }
    *time = read_clock(CLOCK_THREAD_CPUTIME_ID) - begin;
    return mr_args_free(args);
}
