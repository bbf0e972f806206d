/* OpenMP tasks with `depend`: threads of one process; one thread makes the tasks and runs some. */
#include <omp.h>

#include "peer.h"

enum { TRIPS = 20000, TASKS = 100000 };

static Cell cells[TRIVIAL_CELLS];

static void stencil(int steps, uint64_t iterations)
{
    /* The clauses are all that names them. */
    for (int step = 0; step < steps; step++) {
        __attribute__((unused)) Cell *before = cells + (step + 1) % 2 * WIDTH, *row = cells + step % 2 * WIDTH;
        for (int point = 0; point < WIDTH; point++) {
            __attribute__((unused)) Cell *own = row + point;
            __attribute__((unused)) const Cell *left = before + (point ? point - 1 : point), *middle = before + point;
            __attribute__((unused)) const Cell *right = before + (point < WIDTH - 1 ? point + 1 : point);
#pragma omp task depend(in : left[0], middle[0], right[0]) depend(out : own[0])
            stencil_task(cells, WIDTH, step, point, iterations);
        }
    }
}

static double run(Pattern pattern, int steps, uint64_t iterations)
{
    double begin = 0, end = 0;
#pragma omp parallel num_threads(WORKERS)
#pragma omp single
    {
        begin = now_ns();
        if (pattern == STENCIL)
            stencil(steps, iterations);
        else
            for (int task = 0; task < steps * WIDTH; task++)
#pragma omp task
                trivial_task(cells, task, iterations);
#pragma omp taskwait
        end = now_ns();
    }
    if (pattern == STENCIL)
        verify_stencil(cells, WIDTH, steps);
    return end - begin;
}

static double rate(void)
{
    double sum = 0;
#pragma omp parallel num_threads(WORKERS) reduction(+ : sum)
    sum += 1 / own_rate();
    return (double)WORKERS / sum;
}

int main(void)
{
    static double trips[TRIPS];
    double independent[ROUNDS], chain[ROUNDS];
    __attribute__((unused)) int link = 0;
#pragma omp parallel num_threads(WORKERS)
#pragma omp single
    {
        for (int trip = 0; trip < TRIPS; trip++) {
            double begin = now_ns();
#pragma omp task
            __asm__ volatile("" ::: "memory");
#pragma omp taskwait
            trips[trip] = now_ns() - begin;
        }
        for (int round = 0; round < ROUNDS; round++) {
            double begin = now_ns();
            for (int task = 0; task < TASKS; task++)
#pragma omp task
                __asm__ volatile("" ::: "memory");
#pragma omp taskwait
            independent[round] = (now_ns() - begin) / TASKS;
            begin = now_ns();
            for (int task = 0; task < TASKS; task++)
#pragma omp task depend(inout : link)
                __asm__ volatile("" ::: "memory");
#pragma omp taskwait
            chain[round] = (now_ns() - begin) / TASKS;
        }
    }
    printf("rtt_ns_p50 %.1f\n", median(trips, TRIPS));
    printf("independent_ns %.1f\n", median(independent, ROUNDS));
    printf("chain_ns %.1f\n", median(chain, ROUNDS));
    metg(run, STENCIL, rate, "metg_stencil_w4_us");
    metg(run, TRIVIAL, rate, "metg_trivial_w4_us");
    return 0;
}
