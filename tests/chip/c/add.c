/* Tensor 2 = tensor 0 + tensor 1, elements of 4 bytes. */
#include "kernels.h"
KERNEL() {
    if (tensor_count != 3 || scalar_count != 0 || tensors[0].dtype != 0)
        return -5;
    const float *a = tensors[0].data, *b = tensors[1].data;
    float *sum = tensors[2].data;
    (void)scalars;
    FOR_MINE(i, tensors[2].bytes / sizeof *sum) sum[i] = a[i] + b[i];
    return 0;
}
