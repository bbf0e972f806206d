/* Element 1 of tensor 0: how often this kernel ran since it was loaded. */
#include "kernels.h"
KERNEL() {
    static uint64_t calls;
    (void)block, (void)blocks, (void)tensor_count, (void)scalars, (void)scalar_count;
    ((uint64_t *)tensors[0].data)[1] = ++calls;
    return 0;
}
