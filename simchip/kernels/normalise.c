/* The end of a row: O = O / l.
 *
 * tensors: O [rows, dim] in/out, l [rows] in;  no scalars */
#include "attention.h"

int kernel_entry(uint32_t block, uint32_t blocks, const sim_tensor *tensors, uint32_t tensor_count,
                 const uint64_t *scalars, uint32_t scalar_count)
{
    (void)scalars;
    if (tensor_count != 2 || scalar_count != 0)
        return INVALID_ARGS;
    const sim_tensor *o = &tensors[0], *l = &tensors[1];
    uint32_t height = o->shape[0], dim = o->shape[1];
    if (!is_matrix(o, height, dim) || !is_vector(l, height))
        return INVALID_ARGS;
    rows part = rows_of(block, blocks, height);
    for (uint32_t row = part.first; row < part.end; row++) {
        float *own = floats(o) + (uint64_t)row * dim;
        for (uint32_t at = 0; at < dim; at++)
            own[at] /= floats(l)[row];
    }
    return 0;
}
