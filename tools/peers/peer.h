/* What the peers in C and C++ share: the clock, the kernel, the cells and the search for METG, as
 * `mailring bench` has them (tools/src/bench/taskbench). A peer prints its figures as lines of a
 * key and a value. */
#ifndef PEER_H
#define PEER_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WIDTH = 4, WORKERS = 2, TRIVIAL_CELLS = 1 << 13, MOST_TASKS = 1 << 14, LEAST_TASKS = 64 };
enum { PLACES = 60, START = 20, ROUNDS = 9 };
typedef enum { TRIVIAL, STENCIL } Pattern;

/* Nobody shares the pair of lines of a cell. */
typedef struct { uint64_t value; char apart[120]; } Cell;

static inline double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e9 + now.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline double median(double *values, int count)
{
    qsort(values, count, sizeof *values, by_value);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* Fused multiplications and additions in registers. */
typedef double Four __attribute__((vector_size(32)));
#if defined(__x86_64__)
__attribute__((target("avx,fma"), noinline, optimize("fp-contract=fast")))
#else
__attribute__((noinline))
#endif
static double fused(uint64_t iterations)
{
    const double factor = 0.999755859375, summand = 1.0 - 0.999755859375;
    volatile Four first = {1.5, 1.5, 1.5, 1.5}; /* read for each, or one would do for all */
    Four a = first, b = first, c = first, d = first, e = first, f = first, g = first, h = first;
    for (uint64_t at = 0; at < iterations; at++) {
        a = a * factor + summand; b = b * factor + summand;
        c = c * factor + summand; d = d * factor + summand;
        e = e * factor + summand; f = f * factor + summand;
        g = g * factor + summand; h = h * factor + summand;
    }
    Four sum = a + b + c + d + e + f + g + h;
    return sum[0];
}

static inline void kernel(uint64_t iterations)
{
    volatile double result = fused(iterations);
    (void)result;
}

/* Nanoseconds of an iteration on this thread, in the middle of some tries of milliseconds. The
 * caller has all processors do this at once. */
static inline double own_rate(void)
{
    enum { TRIES = 5, ITERATIONS = 2000000 };
    double times[TRIES];
    for (int at = 0; at < TRIES; at++) {
        double begin = now_ns();
        kernel(ITERATIONS);
        times[at] = (now_ns() - begin) / (double)ITERATIONS;
    }
    return median(times, TRIES);
}

/* What a task writes: it depends on all that the task reads. */
static inline uint64_t mix(uint64_t sum, uint64_t value)
{
    sum = (sum << 9 | sum >> 55) ^ value;
    return sum * 0x9e3779b97f4a7c15u + 1;
}

/* Task `point` of `step` on two rows of cells of `width`. */
static inline void stencil_task(Cell *cells, int width, int step, int point, uint64_t iterations)
{
    const Cell *before = cells + (step + 1) % 2 * width;
    uint64_t sum = (uint64_t)step * width + point + 1;
    if (step > 0)
        for (int at = point - 1; at <= point + 1; at++)
            if (at >= 0 && at < width)
                sum = mix(sum, before[at].value);
    kernel(iterations);
    cells[step % 2 * width + point].value = sum;
}

static inline void trivial_task(Cell *cells, int task, uint64_t iterations)
{
    kernel(iterations);
    cells[task % TRIVIAL_CELLS].value = task % TRIVIAL_CELLS + 1;
}

/* Ends the program unless the cells hold what one task after the other leaves there. */
static inline void verify_stencil(const Cell *cells, int width, int steps)
{
    Cell *right = (Cell *)calloc(2 * width, sizeof *right);
    for (int step = 0; step < steps; step++)
        for (int point = 0; point < width; point++)
            stencil_task(right, width, step, point, 0);
    for (int at = 0; at < 2 * width; at++)
        if (cells[at].value != right[at].value) {
            fprintf(stderr, "tasks ran in a wrong order\n");
            exit(1);
        }
    free(right);
}

/* Runs a graph: nanoseconds. */
typedef double (*Run)(Pattern pattern, int steps, uint64_t iterations);

typedef struct { double granularity, efficiency; } Point;

static inline uint64_t place(int at)
{
    return (uint64_t)llround(8 * pow(1.2, at));
}

static inline Point measure(Run run, Pattern pattern, double rate, int at)
{
    double work = place(at) * rate, tasks = 6e6 / work;
    int steps = 1;
    tasks = fmin(fmax(tasks, LEAST_TASKS), MOST_TASKS);
    while (steps * WIDTH < tasks)
        steps *= 2;
    double granularity = run(pattern, steps, place(at)) * (double)WORKERS / (steps * WIDTH);
    Point point = {granularity, work / granularity};
    return point;
}

/* Nanoseconds. `start` is where the last search ended. */
static inline double search(Run run, Pattern pattern, double rate, int *start)
{
    int low = -1, high = -1, at = *start, stride = 1;
    Point little = {0, 0}, enough = {0, 0};
    for (;;) {
        Point point = measure(run, pattern, rate, at);
        if (point.efficiency >= 0.5) { high = at; enough = point; } else { low = at; little = point; }
        if (low >= 0 && high >= 0)
            break;
        int next = low < 0 ? at - stride : at + stride;
        next = next < 0 ? 0 : next >= PLACES ? PLACES - 1 : next;
        if (next == at) {
            *start = at;
            return point.granularity;
        }
        at = next;
        stride *= 2;
    }
    while (high - low > 1) {
        int middle = (low + high) / 2;
        Point point = measure(run, pattern, rate, middle);
        if (point.efficiency >= 0.5) { high = middle; enough = point; }
        else { low = middle; little = point; }
    }
    *start = high;
    double from = log(little.efficiency), to = log(enough.efficiency);
    double share = to > from ? (log(0.5) - from) / (to - from) : 1;
    from = log(little.granularity), to = log(enough.granularity);
    return exp(from + share * (to - from));
}

/* Nanoseconds of an iteration when all processors do nothing else. */
typedef double (*Rate)(void);

/* The median of some rounds, of which the first warms up; prints. */
static inline void metg(Run run, Pattern pattern, Rate rate, const char *key)
{
    double values[ROUNDS];
    int start = START;
    for (int round = -1; round < ROUNDS; round++) {
        double value = search(run, pattern, rate(), &start);
        if (round >= 0)
            values[round] = value;
    }
    printf("%s %.4f\n", key, median(values, ROUNDS) / 1e3);
}

#endif
