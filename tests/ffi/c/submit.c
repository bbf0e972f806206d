/* Submits with arrays: what arrives, in which form, and that it is the same as with mr_args. */
#include "check.h"

enum { TENSORS = 9, SCALARS = 40 };

/* Sums up the first word of every tensor and all scalars into tensor 0. */
static int sum(const mr_task_args_view *args, const mr_call_config *config,
               const mr_task_context *context, void *user) {
    uint64_t all = (uint64_t)config->block_dim;
    UNUSED(context), UNUSED(user);
    for (int32_t i = 1; i < args->tensor_count; i++) {
        all += *(const uint64_t *)mr_view_data(args, i);
    }
    for (int32_t i = 0; i < args->scalar_count; i++) {
        all += args->scalars[i];
    }
    if (args->tensor_count == 0) {
        return (int)all;
    }
    *(uint64_t *)mr_view_data(args, 0) = all;
    return 0;
}

int main(void) {
    mr_options options = small(2);
    mr_builder *builder;
    mr_executor *exec;
    mr_callable callable;
    mr_buffer *buffer;
    mr_run_handle *run;
    mr_args *args;
    mr_task first, second;
    mr_tensor tensors[TENSORS], made;
    mr_tag tags[TENSORS];
    uint64_t scalars[SCALARS], *data, expected = 0;
    mr_call_config config;
    mr_task_options named;
    mr_submission task = {.size = sizeof task};
    /* At any address: one byte behind a multiple of 8. */
    static unsigned char odd[1 + sizeof(mr_submission) + sizeof tensors + sizeof tags];

    OK(mr_builder_new(&options, &builder));
    OK(mr_register(builder, "sum", sum, NULL, &callable));
    OK(mr_build(builder, &exec));
    data = words(exec, TENSORS, &buffer);
    for (uint64_t i = 0; i < TENSORS; i++) {
        data[i] = 100 + i;
        expected += i > 0 ? data[i] : 0;
        tensors[i] = at((uint64_t)(uintptr_t)&data[i]);
        tags[i] = i == 0 ? MR_OUTPUT_EXISTING : MR_INPUT;
    }
    for (uint64_t i = 0; i < SCALARS; i++) {
        scalars[i] = i;
        expected += i;
    }
    OK(mr_call_config_init(&config));
    config.block_dim = 1000;
    OK(mr_task_options_init(&named));
    named.name = "by arrays";

    /* Few arguments, and more than fit into a slot; without and with configuration and options. */
    OK(mr_run_begin(exec, &run));
    task.callable = callable, task.tensors = tensors, task.tags = tags, task.tensor_count = TENSORS;
    task.scalars = scalars, task.scalar_count = SCALARS;
    OK(mr_submit(run, &task, &first));
    OK(mr_wait(run, &first));
    CHECK(data[0] == expected + 24);
    task.config = &config, task.options = &named;
    OK(mr_submit(run, &task, &second));
    OK(mr_wait(run, &second));
    CHECK(data[0] == expected + 1000 && second.id == first.id + 1);

    /* The same from addresses that are no multiple of anything. */
    memcpy(odd + 1 + sizeof task, tensors, sizeof tensors);
    memcpy(odd + 1 + sizeof task + sizeof tensors, tags, sizeof tags);
    task.tensors = (const mr_tensor *)(void *)(odd + 1 + sizeof task);
    task.tags = (const mr_tag *)(void *)(odd + 1 + sizeof task + sizeof tensors);
    memcpy(odd + 1, &task, sizeof task);
    data[0] = 0;
    OK(mr_submit(run, (const mr_submission *)(void *)(odd + 1), NULL));
    OK(mr_run_end(run));
    CHECK(data[0] == expected + 1000);

    /* The same with mr_args. */
    OK(mr_args_new(&args));
    for (int i = 0; i < TENSORS; i++) {
        OK(mr_args_add_tensor(args, &tensors[i], tags[i]));
    }
    for (int i = 0; i < SCALARS; i++) {
        OK(mr_args_add_scalar(args, scalars[i]));
    }
    data[0] = 0;
    OK(mr_run_begin(exec, &run));
    OK(mr_submit_args(run, callable, args, &config, &named, NULL));
    OK(mr_run_end(run));
    CHECK(data[0] == expected + 1000);
    OK(mr_args_free(args));

    /* An output that the submit allocates, and the error of a task with a name. */
    OK(mr_tensor_init(&tensors[0], NULL, MR_FLOAT64, NULL, 0));
    tags[0] = MR_OUTPUT;
    task.tensors = tensors, task.tags = tags;
    OK(mr_run_begin(exec, &run));
    OK(mr_submit(run, &task, &first));
    OK(mr_task_tensor(run, &first, 0, &made));
    CHECK(made.data != 0);
    OK(mr_wait(run, &first));
    CHECK(*(uint64_t *)(uintptr_t)made.data == expected + 1000);
    task.tensor_count = 0, task.scalar_count = 4, task.config = NULL;
    OK(mr_submit(run, &task, &second));
    FAILS(MR_ERR_TASK, "`by arrays`) failed", mr_wait(run, &second));
    CHECK(strstr(mr_last_error(), "it returned 30") != NULL);
    CHECK(mr_run_end(run) == MR_ERR_TASK);
    OK(mr_buffer_free(buffer));
    OK(mr_executor_close(exec));
    puts("ok");
    return 0;
}
