/* Workers that drive chips, from C. argv[1] is a host runtime made from host.c, which also serves as
 * the binaries: it only counts their bytes. */
#include <sys/stat.h>
#include <time.h>

#include "check.h"

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static mr_builder *begin(const char *library, const int32_t *devices, size_t count,
                         uint64_t start_timeout_ns, mr_callable *program_) {
    static const mr_direction signature[2] = {MR_DIRECTION_INOUT, MR_DIRECTION_SCALAR};
    mr_options options = small(0);
    mr_builder *builder;
    mr_chip_runtime chips = {.size = sizeof chips};
    mr_chip_kernel kernel = {.func_id = 7, .file = library};
    mr_chip_program program = {.size = sizeof program};
    options.start_timeout_ns = start_timeout_ns;
    chips.host_runtime = chips.aicore = library;
    chips.devices = devices, chips.device_count = count;
    program.function = "main_of_it", program.file = library;
    program.signature = signature, program.signature_count = 2;
    program.kernels = &kernel, program.kernel_count = 1;
    OK(mr_builder_new(&options, &builder));
    OK(mr_builder_chips(builder, &chips));
    OK(mr_register_chip(builder, "program", &program, program_));
    return builder;
}

int main(int argc, char **argv) {
    const int32_t devices[2] = {3, 8}, refused = 13, slow = 14;
    const uint32_t five = 5;
    mr_callable program;
    mr_builder *builder;
    mr_executor *exec;
    mr_buffer *buffer;
    mr_run_handle *run;
    mr_tensor cells;
    mr_failure failure = {.size = sizeof failure};
    mr_tag tag = MR_INOUT;
    uint64_t scalars[2] = {1000000, 5}, *data;
    mr_submission task = {.size = sizeof task};
    struct stat about;
    size_t workers;
    double since;

    CHECK(argc == 2 && stat(argv[1], &about) == 0);
    OK(mr_build(begin(argv[1], devices, 2, 0, &program), &exec));
    OK(mr_executor_workers(exec, MR_NEXT_LEVEL, &workers));
    CHECK(workers == 2);
    OK(mr_buffer_new(exec, MR_UINT64, &five, 1, &buffer));
    OK(mr_buffer_tensor(buffer, &cells));
    data = (uint64_t *)(uintptr_t)cells.data;
    task.callable = program, task.tensors = &cells, task.tags = &tag, task.tensor_count = 1;
    task.scalars = scalars, task.scalar_count = 1;
    OK(mr_run_begin(exec, &run));
    for (int i = 0; i < 20; i++) {
        OK(mr_submit(run, &task, NULL));
    }
    OK(mr_run_end(run));
    CHECK(data[0] == 20 * (1000000 + (uint64_t)about.st_size) && data[4] == data[0]);

    /* Any number but 0 fails, and is told. */
    task.scalar_count = 2;
    OK(mr_run_begin(exec, &run));
    OK(mr_submit(run, &task, NULL));
    FAILS(MR_ERR_TASK, "`program`) failed", mr_run_end(run));
    OK(mr_last_failure(&failure));
    CHECK(failure.has == MR_FAILURE_HAS_RETURNED && failure.returned == 33);
    task.tensor_count = 0;
    OK(mr_run_begin(exec, &run));
    OK(mr_submit(run, &task, NULL));
    FAILS(MR_ERR_TASK, "invalid arguments", mr_run_end(run));
    OK(mr_last_failure(&failure));
    CHECK(failure.returned == -5);
    OK(mr_buffer_free(buffer));
    OK(mr_executor_close(exec));

    /* A device that is refused; one that takes longer than it may. */
    FAILS(MR_ERR_WORKER_START, "set_device failed with code 5",
          mr_build(begin(argv[1], &refused, 1, 0, &program), &exec));
    since = now();
    builder = begin(argv[1], &slow, 1, 100000000, &program);
    CHECK(mr_build(builder, &exec) == MR_ERR_WORKER_START);
    CHECK(now() - since < 20);
    puts("ok");
    return 0;
}
