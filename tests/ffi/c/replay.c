/* A graph that is recorded once and replayed: memory, scalars, order, failures, what is refused. */
#include "check.h"

/* tensor 1 = tensor 0 * scalar 0 + scalar 1; fails when scalar 0 is 0. */
static int affine(const mr_task_args_view *args, const mr_call_config *config,
                  const mr_task_context *context, void *user) {
    UNUSED(config), UNUSED(context), UNUSED(user);
    if (args->scalars[0] == 0) {
        return 5;
    }
    *(uint64_t *)mr_view_data(args, 1) =
        *(const uint64_t *)mr_view_data(args, 0) * args->scalars[0] + args->scalars[1];
    return 0;
}

struct graph {
    mr_callable affine;
    mr_tensor x, y;
    mr_task tasks[2];
};

static int submit(mr_run_handle *run, const struct graph *graph, mr_tensor from, mr_tensor to,
                  uint64_t a, uint64_t b, mr_task *task) {
    mr_tensor tensors[2] = {from, to};
    mr_tag tags[2] = {MR_INPUT, MR_OUTPUT_EXISTING};
    uint64_t scalars[2] = {a, b};
    mr_submission s = {sizeof s, graph->affine, tensors, tags, 2, scalars, 2, NULL, NULL};
    return mr_submit(run, &s, task);
}

/* y = 3 x + 1, and then x = 2 y */
static int fill(mr_run_handle *run, void *user) {
    struct graph *graph = user;
    OK(submit(run, graph, graph->x, graph->y, 3, 1, &graph->tasks[0]));
    return submit(run, graph, graph->y, graph->x, 2, 0, &graph->tasks[1]);
}

static int gives_up(mr_run_handle *run, void *user) {
    UNUSED(run), UNUSED(user);
    return 17;
}

int main(void) {
    mr_options options = small(2);
    mr_builder *builder;
    mr_executor *exec;
    mr_buffer *xs, *ys, *others;
    mr_recording *graph = NULL, *none = NULL;
    mr_bindings *bindings;
    mr_run_handle *run;
    mr_task tasks[2];
    struct graph what;
    uint64_t *x, *y, *other;
    size_t count, memory, index;

    OK(mr_builder_new(&options, &builder));
    OK(mr_register(builder, "affine", affine, NULL, &what.affine));
    OK(mr_build(builder, &exec));
    x = words(exec, 4, &xs), y = words(exec, 4, &ys), other = words(exec, 4, &others);
    what.x = at((uint64_t)(uintptr_t)&x[1]), what.y = at((uint64_t)(uintptr_t)&y[0]);
    x[1] = 1;
    OK(mr_record(exec, fill, &what, &graph));
    CHECK(y[0] == 4 && x[1] == 8);
    CHECK(mr_record(exec, gives_up, NULL, &none) == 17 && none == NULL);
    OK(mr_recording_count(graph, &count, &memory));
    CHECK(count == 2 && memory == 2);
    OK(mr_recording_index(graph, &what.tasks[1], &index));
    CHECK(index == 1);

    /* The same again, alone and among other tasks. */
    OK(mr_run_recording(exec, graph, NULL));
    CHECK(y[0] == 25 && x[1] == 50);
    OK(mr_run_begin(exec, &run));
    OK(submit(run, &what, at((uint64_t)(uintptr_t)&x[0]), what.x, 1, 10, NULL));
    OK(mr_replay(run, graph, NULL, tasks, 2));
    OK(mr_wait(run, &tasks[0]));
    CHECK(tasks[1].id == tasks[0].id + 1);
    OK(submit(run, &what, what.x, what.y, 1, 1, NULL));
    OK(mr_run_end(run));
    CHECK(x[1] == 62 && y[0] == 63);

    /* Other memory, another scalar. */
    OK(mr_bindings_new(graph, &bindings));
    {
        mr_tensor whole, second = at((uint64_t)(uintptr_t)&other[1]);
        OK(mr_buffer_tensor(others, &whole));
        OK(mr_bindings_memory(bindings, 0, &whole)); /* of which tasks name the second word */
        OK(mr_bindings_memory(bindings, 1, &second));
        FAILS(MR_ERR_REPLAY, "share", mr_run_recording(exec, graph, bindings));
        OK(mr_bindings_memory(bindings, 1, &whole));
        OK(mr_buffer_tensor(xs, &whole));
        OK(mr_bindings_replace(bindings, &what.x, &whole));
    }
    OK(mr_bindings_scalar(bindings, 0, 1, 100));
    x[1] = 1;
    OK(mr_run_recording(exec, graph, bindings));
    CHECK(other[0] == 103 && x[1] == 206 && y[0] == 63);

    /* A failure, and none afterwards. */
    OK(mr_bindings_scalar(bindings, 0, 0, 0));
    CHECK(mr_run_recording(exec, graph, bindings) == MR_ERR_TASK && x[1] == 206);
    OK(mr_run_recording(exec, graph, NULL));
    CHECK(y[0] == 619);

    OK(mr_bindings_free(bindings));
    OK(mr_bindings_free(NULL));
    OK(mr_recording_free(NULL));
    OK(mr_buffer_free(others));
    OK(mr_buffer_free(ys));
    FAILS(MR_ERR_REPLAY, "dropped", mr_run_recording(exec, graph, NULL));
    OK(mr_recording_free(graph));
    OK(mr_buffer_free(xs));
    OK(mr_executor_close(exec));
    puts("ok");
    return 0;
}
