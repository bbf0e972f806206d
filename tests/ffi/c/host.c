/* A host runtime written from mailring_host_runtime.h alone: its "chip" adds the scalars and the size of
 * the program's binary to every word of tensor 0. What it relies on it checks. */
#include <mailring_host_runtime.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct context {
    int device;
    int runs;
};

void *create_device_context(void) {
    struct context *context = calloc(1, sizeof *context);
    if (context != NULL) {
        context->device = -1;
    }
    return context;
}

void destroy_device_context(void *context) { free(context); }

size_t get_runtime_size(void) { return 1000; }

int set_device(void *context_, int device) {
    struct context *context = context_;
    if (device == 13) {
        return 5; /* positive, and a failure all the same */
    }
    if (device == 14) {
        sleep(1000);
    }
    context->device = device;
    return MR_RUNTIME_OK;
}

int run_runtime(void *context_, void *runtime_buffer, const mr_runtime_callable *callable,
                const mr_chip_args *args, int block_dim, int aicpu_thread_num, int device,
                const uint8_t *aicpu, size_t aicpu_size, const uint8_t *aicore, size_t aicore_size,
                int enable_profiling, int enable_dump_tensor) {
    struct context *context = context_;
    unsigned char *bytes = runtime_buffer;
    uint64_t sum = callable->binary_size, *words;
    mr_runtime_kernel kernel;
    const unsigned char *first = (const unsigned char *)callable + MR_RUNTIME_STORAGE;
    if (device != context->device || block_dim != 24 || aicpu_thread_num != 3) {
        return -50;
    }
    if (aicpu != NULL || aicpu_size != 0 || aicore == NULL || aicore_size == 0) {
        return -51;
    }
    if (enable_profiling != 0 || enable_dump_tensor != 0) {
        return -52;
    }
    for (size_t i = 0; i < get_runtime_size(); i++) {
        if (bytes[i] != 0) {
            return -53; /* all zero in every call */
        }
        bytes[i] = 0xff;
    }
    if ((uintptr_t)runtime_buffer % 64 != 0 || (uintptr_t)callable % 64 != 0) {
        return -54;
    }
    if (strcmp(callable->function, "main_of_it") != 0 || callable->signature_count != 2 ||
        callable->signature[0] != MR_DIRECTION_INOUT ||
        callable->signature[1] != MR_DIRECTION_SCALAR) {
        return -55;
    }
    if (callable->child_count != 1 || callable->child_func_ids[0] != 7) {
        return -56;
    }
    memcpy(&kernel, first + callable->child_offsets[0], sizeof kernel);
    if (kernel.binary_size == 0 || kernel.resolved_address != 0) {
        return -57;
    }
    if (args->tensor_count != 1) {
        return MR_RUNTIME_INVALID_ARGUMENTS;
    }
    for (int32_t i = 0; i < args->scalar_count; i++) {
        sum += args->scalars[i];
    }
    context->runs++;
    words = (uint64_t *)(uintptr_t)args->tensors[0].data;
    for (uint32_t i = 0; i < args->tensors[0].shapes[0]; i++) {
        words[i] += sum;
    }
    return args->scalar_count == 2 ? 33 : MR_RUNTIME_OK;
}

int finalize_device(void *context_) {
    struct context *context = context_;
    context->device = -1;
    return MR_RUNTIME_OK;
}
