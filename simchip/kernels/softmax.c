/* One step of the online softmax, row by row: the scores of further keys become weights relative
 * to the new maximum, and the running maximum and sum take them in.
 *
 *   m' = max(m, max S)    S = exp(S - m')    l = exp(m - m') * l + sum S    A = exp(m - m')
 *
 * tensors: S [rows, keys] in/out, m [rows] in/out, l [rows] in/out, A [rows] out;
 * scalars: flags (FIRST: there is no m and l yet) */
#include <math.h>

#include "attention.h"

int kernel_entry(uint32_t block, uint32_t blocks, const sim_tensor *tensors, uint32_t tensor_count,
                 const uint64_t *scalars, uint32_t scalar_count)
{
    if (tensor_count != 4 || scalar_count != 1)
        return INVALID_ARGS;
    const sim_tensor *s = &tensors[0];
    uint32_t height = s->shape[0], keys = s->shape[1];
    if (!is_matrix(s, height, keys) || keys == 0 || !is_vector(&tensors[1], height)
        || !is_vector(&tensors[2], height) || !is_vector(&tensors[3], height))
        return INVALID_ARGS;
    float *maximum = floats(&tensors[1]), *sum = floats(&tensors[2]), *fade = floats(&tensors[3]);
    rows part = rows_of(block, blocks, height);
    for (uint32_t row = part.first; row < part.end; row++) {
        float *scores = floats(s) + (uint64_t)row * keys;
        float before = scalars[0] & FIRST ? -INFINITY : maximum[row];
        float now = before;
        for (uint32_t key = 0; key < keys; key++)
            now = scores[key] > now ? scores[key] : now;
        float added = 0;
        for (uint32_t key = 0; key < keys; key++) {
            scores[key] = expf(scores[key] - now);
            added += scores[key];
        }
        /* The first time this is exp(-inf) = 0, and what lies in `sum` must not matter. */
        fade[row] = expf(before - now);
        sum[row] = scalars[0] & FIRST ? added : fade[row] * sum[row] + added;
        maximum[row] = now;
    }
    return 0;
}
