/* What kernels and orchestration functions of the simulated chip see.
 *
 * A ChipCallable carries one orchestration binary (a shared object that exports the callable's
 * func_name) and up to 32 children (shared objects that export `kernel_entry`). */
#ifndef SIMCHIP_H
#define SIMCHIP_H
#include <stdint.h>
typedef struct sim_tensor {
    void *data;          /* device address */
    uint64_t bytes;
    uint32_t shape[5];
    uint32_t ndims;
    uint32_t dtype;      /* DataType number */
} sim_tensor;
typedef struct sim_task {
    const sim_tensor *tensors;
    const uint64_t *scalars;
    uint32_t tensor_count;
    uint32_t scalar_count;
    int32_t block_dim;
    int32_t device;
    void *chip;          /* for the functions below only */
    /* Runs child `func_id` for blocks 0..blocks-1; 0, or a negative error. */
    int (*launch)(const struct sim_task *task, int32_t func_id, uint32_t blocks,
                  const sim_tensor *tensors, uint32_t tensor_count,
                  const uint64_t *scalars, uint32_t scalar_count);
    /* Device memory that lives until the task ends; null when there is none left. */
    void *(*scratch)(const struct sim_task *task, uint64_t bytes);
} sim_task;
/* Orchestration function: 0, or one of the runtime's status codes, negated. */
typedef int (*sim_orchestration)(const sim_task *task);
/* Kernel: `kernel_entry` of a child. */
typedef int (*sim_kernel)(uint32_t block, uint32_t blocks, const sim_tensor *tensors,
                          uint32_t tensor_count, const uint64_t *scalars, uint32_t scalar_count);
#endif
