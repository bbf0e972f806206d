#include "simchip.h"
#include <stddef.h>
/* The part of n elements that is this block's. */
#define FOR_MINE(i, n) \
    for (uint64_t i = (n) * block / blocks; i < (n) * ((uint64_t)block + 1) / blocks; i++)
#define KERNEL(...) \
    int kernel_entry(uint32_t block, uint32_t blocks, const sim_tensor *tensors, \
                     uint32_t tensor_count, const uint64_t *scalars, uint32_t scalar_count)
