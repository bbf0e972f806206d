/* Takes further values in: O = A * O + P * V, where A fades what was summed under an older maximum.
 *
 * tensors: P [rows, keys] in, V [keys, dim] in, A [rows] in, O [rows, dim] in/out;
 * scalars: flags (FIRST: there is no O yet) */
#include "attention.h"

int kernel_entry(uint32_t block, uint32_t blocks, const sim_tensor *tensors, uint32_t tensor_count,
                 const uint64_t *scalars, uint32_t scalar_count)
{
    if (tensor_count != 4 || scalar_count != 1)
        return INVALID_ARGS;
    const sim_tensor *p = &tensors[0], *v = &tensors[1], *a = &tensors[2], *o = &tensors[3];
    uint32_t height = p->shape[0], keys = p->shape[1], dim = v->shape[1];
    if (!is_matrix(p, height, keys) || !is_matrix(v, keys, dim) || !is_vector(a, height)
        || !is_matrix(o, height, dim))
        return INVALID_ARGS;
    rows part = rows_of(block, blocks, height);
    for (uint32_t row = part.first; row < part.end; row++) {
        const float *weights = floats(p) + (uint64_t)row * keys;
        float *restrict own = floats(o) + (uint64_t)row * dim;
        float fade = floats(a)[row];
        if (scalars[0] & FIRST)
            memset(own, 0, dim * sizeof(float)); /* not times 0: it may be no number */
        else
            for (uint32_t at = 0; at < dim; at++)
                own[at] *= fade;
        for (uint32_t key = 0; key < keys; key++) {
            const float *restrict value = floats(v) + (uint64_t)key * dim;
            float weight = weights[key];
            for (uint32_t at = 0; at < dim; at++)
                own[at] += weight * value[at];
        }
    }
    return 0;
}
