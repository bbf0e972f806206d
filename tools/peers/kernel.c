/* The kernel of peer.h for programs in Python. */
#include "peer.h"

void run_kernel(uint64_t iterations)
{
    kernel(iterations);
}

double rate(void)
{
    return own_rate();
}
