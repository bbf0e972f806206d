/* Tensor 0 *= scalar 0; tensor 1, if there is one, counts how often each element was touched. */
#include "kernels.h"
KERNEL() {
    if (tensor_count < 1 || scalar_count < 1)
        return -5;
    float *x = tensors[0].data;
    FOR_MINE(i, tensors[0].bytes / sizeof *x) {
        x[i] *= (float)scalars[0];
        if (tensor_count > 1)
            ((uint64_t *)tensors[1].data)[i] += 1 + ((uint64_t)block << 32);
    }
    return 0;
}
