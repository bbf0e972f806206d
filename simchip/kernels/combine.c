/* What the members of a group have found, each for its own keys, weighted and added up.
 *
 * tensors: partial O [members, rows, dim] in, weights [members, rows] in, O [rows, dim] out;
 * no scalars */
#include "attention.h"

int kernel_entry(uint32_t block, uint32_t blocks, const sim_tensor *tensors, uint32_t tensor_count,
                 const uint64_t *scalars, uint32_t scalar_count)
{
    (void)scalars;
    if (tensor_count != 3 || scalar_count != 0)
        return INVALID_ARGS;
    const sim_tensor *partial = &tensors[0], *weights = &tensors[1], *o = &tensors[2];
    uint32_t members = weights->shape[0], height = o->shape[0], dim = o->shape[1];
    if (!is_matrix(o, height, dim) || !is_matrix(weights, members, height) || partial->ndims != 3
        || partial->shape[0] != members || partial->shape[1] != height || partial->shape[2] != dim
        || (height != 0 && dim > UINT32_MAX / height)
        || !holds(partial, (uint64_t)members * (height * dim)))
        return INVALID_ARGS;
    rows part = rows_of(block, blocks, height);
    for (uint32_t row = part.first; row < part.end; row++) {
        float *restrict own = floats(o) + (uint64_t)row * dim;
        memset(own, 0, dim * sizeof(float));
        for (uint32_t member = 0; member < members; member++) {
            uint64_t at_row = (uint64_t)member * height + row;
            const float *restrict theirs = floats(partial) + at_row * dim;
            float weight = floats(weights)[at_row];
            for (uint32_t at = 0; at < dim; at++)
                own[at] += weight * theirs[at];
        }
    }
    return 0;
}
