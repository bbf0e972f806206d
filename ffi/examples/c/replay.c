/* A graph that is recorded once and replayed: with other numbers, and with other memory.
 *
 *     cc replay.c $(pkg-config --cflags --libs mailring) -o replay && ./replay
 *
 * Two rows of cells take turns: each step has a task for each cell, which reads the cell and its left
 * neighbour in one row and writes their sum, times a factor, to the other. Two such steps are the
 * graph. Who waits for whom is found out when they are recorded; a replay knows. */
#include <inttypes.h>
#include <mailring.h>
#include <stdio.h>
#include <stdlib.h>

enum { CELLS = 8, REPLAYS = 3 };

/* Ends the program when something failed that should not. */
static void must(mr_status status, const char *what) {
    if (status != MR_OK) {
        fprintf(stderr, "%s: %s: %s\n", what, mr_status_name(status), mr_last_error());
        exit(1);
    }
}

/* The function of the tasks: new[0] = (old[0] + old[1]) * scalar. */
static int add(const mr_task_args_view *args, const mr_call_config *config,
               const mr_task_context *context, void *user) {
    const uint64_t *old = mr_view_data(args, 0);
    uint64_t *new = mr_view_data(args, 1);
    (void)config, (void)context, (void)user;
    *new = (old[0] + old[1]) * args->scalars[0];
    return 0;
}

struct graph {
    mr_callable add;
    uint64_t *rows[2];
    mr_task first;
};

/* Submits two steps: from the first row to the second, and back. Cell 0 of a row stays as it is. */
static int fill(mr_run_handle *run, void *user) {
    struct graph *graph = user;
    for (int step = 0; step < 2; step++) {
        for (uint64_t cell = 1; cell < CELLS; cell++) {
            const uint32_t two = 2;
            const uint64_t factor = 1;
            const mr_tag tags[2] = {MR_INPUT, MR_OUTPUT_EXISTING};
            mr_tensor tensors[2];
            mr_submission task = {sizeof task, graph->add, tensors, tags, 2, &factor, 1, NULL, NULL};
            mr_task *first = step == 0 && cell == 1 ? &graph->first : NULL;
            mr_status status =
                mr_tensor_init(&tensors[0], &graph->rows[step][cell - 1], MR_UINT64, &two, 1);
            if (status == MR_OK) {
                status = mr_tensor_init(&tensors[1], &graph->rows[1 - step][cell], MR_UINT64, NULL, 0);
            }
            if (status == MR_OK) {
                status = mr_submit(run, &task, first);
            }
            if (status != MR_OK) {
                return status;
            }
        }
    }
    return 0;
}

static uint64_t *row(mr_executor *exec, mr_buffer **buffer) {
    const uint32_t cells = CELLS;
    void *data;
    must(mr_buffer_new(exec, MR_UINT64, &cells, 1, buffer), "mr_buffer_new");
    must(mr_buffer_data(*buffer, &data, NULL), "mr_buffer_data");
    *(uint64_t *)data = 1;
    return data;
}

static void show(const char *what, const uint64_t *row) {
    printf("%s:", what);
    for (int cell = 0; cell < CELLS; cell++) {
        printf(" %" PRIu64, row[cell]);
    }
    printf("\n");
}

int main(void) {
    mr_options options;
    mr_builder *builder;
    mr_executor *exec;
    mr_buffer *buffers[3];
    mr_tensor recorded, other;
    mr_recording *recording;
    mr_bindings *bindings;
    mr_run_handle *run;
    struct graph graph;
    size_t tasks, memory, first;
    uint64_t *third;

    mr_options_init(&options);
    options.workers = 2;
    must(mr_builder_new(&options, &builder), "mr_builder_new");
    must(mr_register(builder, "add", add, NULL, &graph.add), "mr_register");
    must(mr_build(builder, &exec), "mr_build");
    graph.rows[0] = row(exec, &buffers[0]);
    graph.rows[1] = row(exec, &buffers[1]);
    third = row(exec, &buffers[2]);

    /* It runs once while it is recorded. */
    must(mr_record(exec, fill, &graph, &recording), "mr_record");
    must(mr_recording_count(recording, &tasks, &memory), "mr_recording_count");
    printf("recorded: %zu tasks on %zu buffers\n", tasks, memory);
    show("2 steps", graph.rows[0]);

    /* Again, several times in one run: each replay waits for the one before, by the bytes. */
    must(mr_run_begin(exec, &run), "mr_run_begin");
    for (int replay = 0; replay < REPLAYS; replay++) {
        must(mr_replay(run, recording, NULL, NULL, 0), "mr_replay");
    }
    must(mr_run_end(run), "mr_run_end");
    show("8 steps", graph.rows[0]);

    /* With another first row, and another factor in the first task. */
    must(mr_bindings_new(recording, &bindings), "mr_bindings_new");
    must(mr_buffer_tensor(buffers[0], &recorded), "mr_buffer_tensor");
    must(mr_buffer_tensor(buffers[2], &other), "mr_buffer_tensor");
    must(mr_bindings_replace(bindings, &recorded, &other), "mr_bindings_replace");
    must(mr_recording_index(recording, &graph.first, &first), "mr_recording_index");
    must(mr_bindings_scalar(bindings, first, 0, 10), "mr_bindings_scalar");
    must(mr_run_recording(exec, recording, bindings), "mr_run_recording");
    show("another row", third);

    must(mr_bindings_free(bindings), "mr_bindings_free");
    must(mr_recording_free(recording), "mr_recording_free");
    for (int buffer = 0; buffer < 3; buffer++) {
        must(mr_buffer_free(buffers[buffer]), "mr_buffer_free");
    }
    must(mr_executor_close(exec), "mr_executor_close");
    return 0;
}
