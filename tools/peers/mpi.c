/* MPI: two processes, each with its part of the points of every step, and a message for what the
 * other's tasks need. There are no tasks to submit: the graph is in the program. */
#include <mpi.h>

#include "peer.h"

enum { TRIPS = 20000, MESSAGES = 100000, BATCH = 256, HALF = WIDTH / 2 };

static Cell cells[TRIVIAL_CELLS];
static int rank;

/* Each has its half of the points; the cells next to the border are sent. */
static void stencil(int steps, uint64_t iterations)
{
    int first = rank * HALF, border = rank ? HALF : HALF - 1, beyond = rank ? HALF - 1 : HALF;
    for (int step = 0; step < steps; step++) {
        Cell *row = cells + step % 2 * WIDTH;
        for (int point = first; point < first + HALF; point++)
            stencil_task(cells, WIDTH, step, point, iterations);
        MPI_Sendrecv(&row[border].value, 1, MPI_UINT64_T, !rank, 0, &row[beyond].value, 1,
                     MPI_UINT64_T, !rank, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
}

static double run(Pattern pattern, int steps, uint64_t iterations)
{
    MPI_Barrier(MPI_COMM_WORLD);
    double begin = now_ns();
    if (pattern == STENCIL)
        stencil(steps, iterations);
    else
        for (int task = rank; task < steps * WIDTH; task += WORKERS)
            trivial_task(cells, task, iterations);
    MPI_Barrier(MPI_COMM_WORLD);
    double time = now_ns() - begin;
    if (pattern == STENCIL) { /* the outer points of the other never arrive here */
        Cell other[2 * WIDTH], mine[2 * WIDTH];
        memcpy(mine, cells, sizeof mine);
        MPI_Sendrecv(mine, sizeof mine, MPI_BYTE, !rank, 1, other, sizeof other, MPI_BYTE, !rank, 1,
                     MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        for (int row = 0; row < 2; row++)
            memcpy(mine + row * WIDTH + !rank * HALF, other + row * WIDTH + !rank * HALF,
                   HALF * sizeof(Cell));
        verify_stencil(mine, WIDTH, steps);
    }
    /* Both go on with the same figure. */
    MPI_Bcast(&time, 1, MPI_DOUBLE, 0, MPI_COMM_WORLD);
    return time;
}

static void round_trips(void)
{
    static double trips[TRIPS];
    uint64_t word = 0;
    for (int trip = 0; trip < TRIPS; trip++) {
        double begin = now_ns();
        if (rank == 0)
            MPI_Send(&word, 1, MPI_UINT64_T, 1, 2, MPI_COMM_WORLD);
        MPI_Recv(&word, 1, MPI_UINT64_T, !rank, 2, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        if (rank == 1)
            MPI_Send(&word, 1, MPI_UINT64_T, 0, 2, MPI_COMM_WORLD);
        trips[trip] = now_ns() - begin;
    }
    if (rank == 0)
        printf("rtt_ns_p50 %.1f\n", median(trips, TRIPS));
}

/* Messages one after the other; an answer to the last. */
static void messages(void)
{
    double times[ROUNDS];
    uint64_t word = 0;
    for (int round = 0; round < ROUNDS; round++) {
        MPI_Barrier(MPI_COMM_WORLD);
        double begin = now_ns();
        for (int message = 0; message < MESSAGES; message++) {
            if (rank == 0)
                MPI_Send(&word, 1, MPI_UINT64_T, 1, 3, MPI_COMM_WORLD);
            else
                MPI_Recv(&word, 1, MPI_UINT64_T, 0, 3, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        }
        MPI_Barrier(MPI_COMM_WORLD);
        times[round] = (now_ns() - begin) / MESSAGES;
    }
    if (rank == 0)
        printf("independent_ns %.1f\n", median(times, ROUNDS));
}

static double rate(void)
{
    MPI_Barrier(MPI_COMM_WORLD);
    double sum = 1 / own_rate();
    MPI_Allreduce(MPI_IN_PLACE, &sum, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    return (double)WORKERS / sum;
}

int main(int argc, char **argv)
{
    int size;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (size != WORKERS) {
        fprintf(stderr, "two processes, please\n");
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    if (rank)
        freopen("/dev/null", "w", stdout);
    round_trips();
    messages();
    metg(run, STENCIL, rate, "metg_stencil_w4_us");
    metg(run, TRIVIAL, rate, "metg_trivial_w4_us");
    MPI_Finalize();
    return 0;
}
