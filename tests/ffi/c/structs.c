/* Layouts, sizes in front of structures, versions, names of statuses. */
#include <stddef.h>

#include "check.h"

#ifdef __cplusplus
#define SAME(a, b) static_assert((a) == (b), #a)
#else
#define SAME(a, b) _Static_assert((a) == (b), #a)
#endif

SAME(sizeof(mr_tensor), 40);
SAME(offsetof(mr_tensor, shapes), 8);
SAME(offsetof(mr_tensor, ndims), 28);
SAME(offsetof(mr_tensor, dtype), 32);
SAME(sizeof(mr_call_config), 12);
SAME(offsetof(mr_call_config, enable_profiling), 8);
SAME(sizeof(mr_task_args_view), 24);
SAME(offsetof(mr_task_args_view, tensors), 8);
SAME(offsetof(mr_task_args_view, scalars), 16);
SAME(offsetof(mr_task_context, cancelled), 32);
SAME(sizeof(mr_task_context), 88);
SAME(sizeof(mr_options), 128);
SAME(offsetof(mr_options, keep_fds), 88);
SAME(sizeof(mr_chip_runtime), 56);
SAME(sizeof(mr_chip_program), 64);
SAME(sizeof(mr_chip_kernel), 32);
SAME(sizeof(mr_task_options), 80);
SAME(sizeof(mr_submission), 72);
SAME(sizeof(mr_stats), 72);
SAME(sizeof(mr_failure), 64);
SAME(offsetof(mr_failure, has), 48);
SAME(sizeof(mr_task), 24);

/* What a program of a later version has. */
struct later_options {
    mr_options now;
    uint64_t more[4];
};

static mr_status try_options(const void *options) {
    mr_builder *builder;
    mr_status status = mr_builder_new((const mr_options *)options, &builder);
    if (status == MR_OK) {
        OK(mr_builder_free(builder));
    }
    return status;
}

int main(void) {
    struct later_options later;
    struct {
        mr_failure now;
        uint64_t more[2];
    } failure;
    mr_options options;
    mr_task_options task;
    mr_call_config config;
    mr_tensor tensor;
    uint64_t bytes;
    char version[32];
    const uint32_t shape[3] = {2, 3, 4};

    snprintf(version, sizeof version, "%d.%d.%d", MR_VERSION_MAJOR, MR_VERSION_MINOR,
             MR_VERSION_PATCH);
    CHECK(strcmp(mr_version(), version) == 0 && mr_abi_version() == MR_ABI_VERSION);
    CHECK(strcmp(mr_status_name(MR_OK), "MR_OK") == 0);
    CHECK(strcmp(mr_status_name(MR_ERR_HEAP_DEADLOCK), "MR_ERR_HEAP_DEADLOCK") == 0);
    CHECK(strcmp(mr_status_name(1), "unknown status") == 0);

    OK(mr_options_init(&options));
    CHECK(options.size == sizeof options && options.name == NULL && options.mode == 0);
    OK(mr_task_options_init(&task));
    CHECK(task.size == sizeof task && task.worker == -1 && task.deadline_us == 0);
    OK(mr_call_config_init(&config));
    CHECK(config.block_dim == 24 && config.aicpu_thread_num == 3 && config.enable_profiling == 0);

    /* A size that is not set, too small, or never was one. */
    options.size = 0;
    FAILS(MR_ERR_SIZE, "sizeof(mr_options)", try_options(&options));
    options.size = 87;
    FAILS(MR_ERR_SIZE, "88", try_options(&options));
    options.size = 88; /* a program of before */
    OK(try_options(&options));
    options.size = SIZE_MAX;
    FAILS(MR_ERR_SIZE, "4096", try_options(&options));

    /* A program of a later version: understood while it asks for nothing new. */
    memset(&later, 0, sizeof later);
    OK(mr_options_init(&later.now));
    later.now.size = sizeof later;
    OK(try_options(&later));
    later.more[3] = 1;
    FAILS(MR_ERR_SIZE, "byte 152", try_options(&later));
    later.now.size = sizeof later - 8; /* the last word is not its own */
    OK(try_options(&later));

    /* Results: what the caller has room for; behind what is known, zeros. */
    CHECK(try_options(NULL) == MR_ERR_NULL);
    memset(&failure, 0x55, sizeof failure);
    failure.now.size = 8;
    FAILS(MR_ERR_SIZE, "mr_failure", mr_last_failure(&failure.now));
    failure.now.size = sizeof failure;
    CHECK(mr_last_failure(&failure.now) == MR_ERR_NOT_FOUND);
    CHECK(failure.now.task == 0x5555555555555555 && failure.more[0] == 0x5555555555555555);

    OK(mr_tensor_init(&tensor, &bytes, MR_FLOAT16, shape, 3));
    CHECK(tensor.data == (uint64_t)(uintptr_t)&bytes && tensor.ndims == 3 && tensor.dtype == 1);
    CHECK(memcmp(tensor.shapes, shape, sizeof shape) == 0 && tensor.shapes[3] == 0);
    OK(mr_tensor_bytes(&tensor, &bytes));
    CHECK(bytes == 48);
    OK(mr_tensor_init(&tensor, NULL, MR_INT64, NULL, 0));
    OK(mr_tensor_bytes(&tensor, &bytes));
    CHECK(bytes == 8);
    puts("ok");
    return 0;
}
