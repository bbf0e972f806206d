/* Scores of queries against keys: S = scale * Q * K^T.
 *
 * tensors: Q [rows, dim] in, K [keys, dim] in, S [rows, keys] out;  scalars: scale */
#include "attention.h"

typedef float quad __attribute__((vector_size(16)));

static inline quad load(const float *from)
{
    quad value;
    memcpy(&value, from, sizeof value);
    return value;
}

/* Sixteen sums side by side: one alone would wait for every addition. */
static float dot(const float *a, const float *b, uint32_t count)
{
    quad sums[4] = { { 0 } };
    uint32_t at = 0;
    for (; at + 16 <= count; at += 16)
        for (uint32_t part = 0; part < 4; part++)
            sums[part] += load(a + at + 4 * part) * load(b + at + 4 * part);
    quad four = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    float sum = (four[0] + four[1]) + (four[2] + four[3]);
    for (; at < count; at++)
        sum += a[at] * b[at];
    return sum;
}

int kernel_entry(uint32_t block, uint32_t blocks, const sim_tensor *tensors, uint32_t tensor_count,
                 const uint64_t *scalars, uint32_t scalar_count)
{
    if (tensor_count != 3 || scalar_count != 1)
        return INVALID_ARGS;
    const sim_tensor *q = &tensors[0], *k = &tensors[1], *s = &tensors[2];
    uint32_t height = q->shape[0], keys = k->shape[0], dim = q->shape[1];
    if (!is_matrix(q, height, dim) || !is_matrix(k, keys, dim) || !is_matrix(s, height, keys))
        return INVALID_ARGS;
    float scale = as_float(scalars[0]);
    rows part = rows_of(block, blocks, height);
    for (uint32_t row = part.first; row < part.end; row++) {
        const float *query = floats(q) + (uint64_t)row * dim;
        float *scores = floats(s) + (uint64_t)row * keys;
        for (uint32_t key = 0; key < keys; key++)
            scores[key] = scale * dot(query, floats(k) + (uint64_t)key * dim, dim);
    }
    return 0;
}
