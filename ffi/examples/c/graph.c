/* A graph of 1,000 tasks on two worker processes, with a group at its end, and a task that fails.
 *
 *     cc graph.c $(pkg-config --cflags --libs mailring) -o graph && ./graph
 *
 * Eight cells of shared memory get 124 tasks each that add a number to one cell. Then one task
 * whose two members run at the same time on both workers sums up the cells: each member one half,
 * a barrier, and the first member adds the halves. */
#include <inttypes.h>
#include <mailring.h>
#include <stdio.h>
#include <stdlib.h>

enum { CELLS = 8, ROUNDS = 124 };

/* Ends the program when something failed that should not. */
static void must(mr_status status, const char *what) {
    if (status != MR_OK) {
        fprintf(stderr, "%s: %s: %s\n", what, mr_status_name(status), mr_last_error());
        exit(1);
    }
}

/* ---- the functions of tasks: they run in worker processes --------------------------------- */

/* cell[0] += scalar */
static int add(const mr_task_args_view *args, const mr_call_config *config,
               const mr_task_context *context, void *user) {
    uint64_t *cell = mr_view_data(args, 0);
    (void)config, (void)context, (void)user;
    *cell += args->scalars[0];
    return 0;
}

/* Member m of 2: sums up cells m, m + 2, ... Both then meet, and member 0 writes the result. */
static int total(const mr_task_args_view *args, const mr_call_config *config,
                 const mr_task_context *context, void *user) {
    const uint64_t *cells = mr_view_data(args, 0);
    uint64_t *sum = mr_view_data(args, 1);
    (void)config, (void)user;
    for (uint32_t i = context->member; i < CELLS; i += context->members) {
        context->fetch_add(context, 0, cells[i]);
    }
    if (context->barrier(context) != 0) {
        return 1; /* the other member will not come */
    }
    if (context->member == 0) {
        *sum = context->load(context, 0);
    }
    return 0;
}

/* Fails, and says why. */
static int refuse(const mr_task_args_view *args, const mr_call_config *config,
                  const mr_task_context *context, void *user) {
    char why[64];
    (void)config;
    snprintf(why, sizeof why, "%s is not %d", (const char *)user, (int)args->scalars[0]);
    context->fail(context, why);
    return 7;
}

/* ---- the host ----------------------------------------------------------------------------- */

struct graph {
    mr_callable add, total;
    mr_tensor cells, sum;
    mr_args *args;
};

/* Submits everything. Nobody says who waits for whom: that follows from the bytes. */
static int fill(mr_run_handle *run, void *user) {
    struct graph *graph = user;
    const mr_args *members[2] = {graph->args, graph->args};
    for (int round = 0; round < ROUNDS; round++) {
        for (uint64_t cell = 0; cell < CELLS; cell++) {
            const mr_tag tag = MR_INOUT;
            const uint64_t number = cell + 1;
            const void *at = (const uint64_t *)(uintptr_t)graph->cells.data + cell;
            mr_tensor tensor;
            mr_submission task = {sizeof task, graph->add, &tensor, &tag, 1, &number, 1, NULL, NULL};
            mr_status status = mr_tensor_init(&tensor, at, MR_UINT64, NULL, 0);
            if (status == MR_OK) {
                status = mr_submit(run, &task, NULL);
            }
            if (status != MR_OK) {
                return status;
            }
        }
    }
    must(mr_args_add_tensor(graph->args, &graph->cells, MR_INPUT), "mr_args_add_tensor");
    must(mr_args_add_tensor(graph->args, &graph->sum, MR_OUTPUT), "mr_args_add_tensor");
    for (int i = 0; i < 8; i++) { /* 992 + 8 = 1,000 */
        mr_status status = mr_submit_group(run, graph->total, members, 2, NULL, NULL, NULL);
        if (status != MR_OK) {
            return status;
        }
    }
    return 0;
}

int main(void) {
    const uint32_t eight = CELLS;
    mr_options options;
    mr_builder *builder;
    mr_executor *exec;
    mr_buffer *cells, *sum;
    mr_callable refuser;
    mr_run_handle *run;
    mr_stats stats = {.size = sizeof stats};
    mr_failure failure = {.size = sizeof failure};
    const uint64_t number = 42;
    mr_submission refused = {.size = sizeof refused, .scalars = &number, .scalar_count = 1};
    struct graph graph;
    void *data;

    if (mr_abi_version() != MR_ABI_VERSION) {
        fprintf(stderr, "libmailring %s is not the one of mailring.h\n", mr_version());
        return 1;
    }
    mr_options_init(&options);
    options.workers = 2;
    must(mr_builder_new(&options, &builder), "mr_builder_new");
    must(mr_register(builder, "add", add, NULL, &graph.add), "mr_register");
    must(mr_register(builder, "total", total, NULL, &graph.total), "mr_register");
    must(mr_register(builder, "refuse", refuse, "a pear", &refuser), "mr_register");
    must(mr_build(builder, &exec), "mr_build"); /* forks the workers */

    must(mr_buffer_new(exec, MR_UINT64, &eight, 1, &cells), "mr_buffer_new");
    must(mr_buffer_new(exec, MR_UINT64, NULL, 0, &sum), "mr_buffer_new");
    must(mr_buffer_tensor(cells, &graph.cells), "mr_buffer_tensor");
    must(mr_buffer_tensor(sum, &graph.sum), "mr_buffer_tensor");
    must(mr_args_new(&graph.args), "mr_args_new");

    must(mr_run(exec, fill, &graph), "mr_run");
    must(mr_buffer_data(sum, &data, NULL), "mr_buffer_data");
    must(mr_executor_stats(exec, &stats), "mr_executor_stats");
    printf("%" PRIu64 " tasks on 2 workers: sum = %" PRIu64 "\n", stats.submitted, *(uint64_t *)data);

    /* The same by hand, with a task that fails. */
    must(mr_run_begin(exec, &run), "mr_run_begin");
    refused.callable = refuser;
    must(mr_submit(run, &refused, NULL), "mr_submit");
    if (mr_run_end(run) != MR_ERR_TASK || mr_last_failure(&failure) != MR_OK) {
        fprintf(stderr, "the run should have failed\n");
        return 1;
    }
    printf("error: %s\n", mr_last_error());
    printf("task %" PRIu64 ", `%s`, attempt %u: %s\n", failure.task, failure.name, failure.attempt,
           failure.message);

    must(mr_args_free(graph.args), "mr_args_free");
    must(mr_buffer_free(cells), "mr_buffer_free");
    must(mr_buffer_free(sum), "mr_buffer_free");
    must(mr_executor_close(exec), "mr_executor_close");
    return 0;
}
