/* Two states over different keys become one, in the place of the first.
 *
 * tensors: O [rows, dim], m [rows], l [rows] in/out, then the other O, m, l in;  no scalars */
#include <math.h>

#include "attention.h"

int kernel_entry(uint32_t block, uint32_t blocks, const sim_tensor *tensors, uint32_t tensor_count,
                 const uint64_t *scalars, uint32_t scalar_count)
{
    (void)scalars;
    if (tensor_count != 6 || scalar_count != 0)
        return INVALID_ARGS;
    uint32_t height = tensors[0].shape[0], dim = tensors[0].shape[1];
    for (uint32_t state = 0; state < 6; state += 3)
        if (!is_matrix(&tensors[state], height, dim) || !is_vector(&tensors[state + 1], height)
            || !is_vector(&tensors[state + 2], height))
            return INVALID_ARGS;
    float *maximum = floats(&tensors[1]), *sum = floats(&tensors[2]);
    const float *their_maximum = floats(&tensors[4]), *their_sum = floats(&tensors[5]);
    rows part = rows_of(block, blocks, height);
    for (uint32_t row = part.first; row < part.end; row++) {
        float *restrict own = floats(&tensors[0]) + (uint64_t)row * dim;
        const float *restrict theirs = floats(&tensors[3]) + (uint64_t)row * dim;
        float now = fmaxf(maximum[row], their_maximum[row]);
        float mine = expf(maximum[row] - now), other = expf(their_maximum[row] - now);
        for (uint32_t at = 0; at < dim; at++)
            own[at] = mine * own[at] + other * theirs[at];
        sum[row] = mine * sum[row] + other * their_sum[row];
        maximum[row] = now;
    }
    return 0;
}
