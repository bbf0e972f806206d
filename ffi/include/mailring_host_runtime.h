/*
 * What a host runtime is: a shared object with six functions, by which a worker of mailring drives
 * a chip. This header is for those who write one; programs that use one need mailring.h alone
 * (mr_builder_chips) or the Rust interface (ChipRuntime).
 *
 *     cc -shared -fPIC my_runtime.c $(pkg-config --cflags mailring) -o libmy_runtime.so
 *
 * LIFE. A worker process drives one device and loads the runtime once (dlopen with RTLD_NOW and
 * RTLD_LOCAL; without one of the six functions it is closed again, and the worker does not start):
 *
 *     create_device_context()                   once; NULL: the worker does not start
 *     get_runtime_size()                        once; 0: the worker does not start
 *     set_device(context, device)               not 0: the worker does not start
 *     run_runtime(context, buffer, ...)         any number of times, one at a time
 *     finalize_device(context)                  the device is let go; set_device may follow again
 *     destroy_device_context(context)           once; then the library is closed
 *
 * All calls of a context come from one thread of the worker, one after the other. The process may
 * be killed at any instruction, also in run_runtime (a deadline, a failed group, the end of the host),
 * and none of the last two is called then: what must outlive that is the driver's business. A
 * replacement of the worker starts from the beginning.
 *
 * CODES. 0 means that all went well. Any other number, negative or positive, fails: of set_device the
 * start of the worker, of run_runtime the task (the number is mr_failure.returned, and names below go
 * into its text), of finalize_device nothing but a line in the log, since the device counts as let go.
 *
 * No exception and no longjmp may leave a function.
 */
#ifndef MAILRING_HOST_RUNTIME_H
#define MAILRING_HOST_RUNTIME_H

#include <mailring.h>

#include <stddef.h>
#include <stdint.h>

/* What run_runtime returns besides 0. Other numbers fail as well, without a name. */
enum mr_runtime_code {
    MR_RUNTIME_OK = 0,
    MR_RUNTIME_FAILURE = -1, /* also: a scope deadlock */
    MR_RUNTIME_HEAP_DEADLOCK = -2,
    MR_RUNTIME_FLOW_DEADLOCK = -3,
    MR_RUNTIME_POOL_OVERFLOW = -4, /* of the pool of dependencies */
    MR_RUNTIME_INVALID_ARGUMENTS = -5,
    MR_RUNTIME_DEPENDENCY_OVERFLOW = -6,
    MR_RUNTIME_INVALID_SYNC_START = -7,
    MR_RUNTIME_TENSOR_TIMEOUT = -8,
    MR_RUNTIME_FATAL = -9,
    MR_RUNTIME_SCHEDULER = -100
};

/* A program with its kernels. Behind this header, at MR_RUNTIME_STORAGE from its first byte: the
 * binary that orchestrates (binary_size bytes), and the kernels, each at child_offsets[i] from there. */
typedef struct mr_runtime_callable {
    int32_t signature[16]; /* mr_direction of each argument */
    int32_t signature_count;
    uint32_t binary_size;
    char function[64]; /* with a zero behind its function_length bytes */
    uint32_t function_length;
    int32_t child_func_ids[32];
    uint32_t child_offsets[32];
    int32_t child_count;
    char config_function[64];
    uint32_t config_function_length;
} mr_runtime_callable;

/* A kernel. Its binary is MR_RUNTIME_KERNEL_STORAGE bytes behind its first byte. Kernels lie at
 * addresses that are no multiple of 8: copy the header with memcpy. */
typedef struct mr_runtime_kernel {
    int32_t signature[16];
    int32_t signature_count;
    uint32_t binary_size;
    uint64_t resolved_address; /* 0; the runtime's, to remember where it has loaded it */
} mr_runtime_kernel;

enum { MR_RUNTIME_STORAGE = 468, MR_RUNTIME_KERNEL_STORAGE = 128 };

#ifdef __cplusplus
extern "C" {
#endif

/* A context for one device, which is the runtime's own. NULL: there is none. */
MR_API void *create_device_context(void);

/* Ends a context. */
MR_API void destroy_device_context(void *context);

/* Bytes of the buffer that run_runtime is given; more than 0. */
MR_API size_t get_runtime_size(void);

/* Takes a device, by its number. */
MR_API int set_device(void *context, int device);

/* Runs a program to its end.
 *
 * runtime_buffer  get_runtime_size() bytes, all zero in every call, at a multiple of 64
 * callable        the program, at a multiple of 64; the same bytes in every call that names it
 * args            the arguments: only the tensors and scalars that the counts say are set. Tensors are
 *                 in memory of the host, which this process may read and, those that the program
 *                 writes, write; nobody else writes them during the call. Their addresses differ
 *                 from those of the device: the runtime copies.
 * block_dim, aicpu_thread_num, enable_profiling (0 or 1), enable_dump_tensor (0 or 1)
 *                 mr_call_config of the task
 * device          the one that was set
 * aicpu, aicore   the files that mr_chip_runtime names; NULL with size 0 without one
 *
 * All of it stays where it is until the call returns, and may be gone right after. */
MR_API int run_runtime(void *context, void *runtime_buffer, const mr_runtime_callable *callable,
                       const mr_chip_args *args, int block_dim, int aicpu_thread_num, int device,
                       const uint8_t *aicpu, size_t aicpu_size, const uint8_t *aicore,
                       size_t aicore_size, int enable_profiling, int enable_dump_tensor);

/* Lets the device go. */
MR_API int finalize_device(void *context);

#ifdef __cplusplus
}
#endif

#endif /* MAILRING_HOST_RUNTIME_H */
