/* The kernel of peer.h for programs in Python. */
#include "peer.h"

void run_kernel(uint64_t iterations)
{
    kernel(iterations);
}

double best(void)
{
    return best_rate();
}
