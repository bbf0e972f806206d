/* Functions that are registered while workers run. Linked with nothing. */
#include <mailring.h>

int dynamic_triple(const mr_task_args_view *args, const mr_call_config *config,
                const mr_task_context *context, void *user) {
    (void)config, (void)context;
    if (user != 0) {
        return 1;
    }
    *(uint64_t *)mr_view_data(args, 0) *= 3;
    return 0;
}

int dynamic_complain(const mr_task_args_view *args, const mr_call_config *config,
                  const mr_task_context *context, void *user) {
    (void)args, (void)config, (void)user;
    context->fail(context, "a complaint of its own");
    return 4;
}

/* Not a function. */
int dynamic_number = 7;
