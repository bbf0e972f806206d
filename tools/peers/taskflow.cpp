// Taskflow: threads of one process and a graph that is built before it runs; building is not timed.
#include <taskflow/taskflow.hpp>

#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "peer.h"

namespace {

constexpr int TRIPS = 20000, TASKS = 100000;

Cell cells[TRIVIAL_CELLS];
tf::Executor executor(WORKERS);

struct Graph {
    tf::Taskflow flow;
    uint64_t iterations = 0;
};

std::unique_ptr<Graph> build(Pattern pattern, int steps)
{
    auto graph = std::make_unique<Graph>();
    const uint64_t *iterations = &graph->iterations;
    std::vector<tf::Task> before, row;
    for (int step = 0; step < steps; step++) {
        row.clear();
        for (int point = 0; point < WIDTH; point++) {
            row.push_back(graph->flow.emplace([=] {
                if (pattern == STENCIL)
                    stencil_task(cells, WIDTH, step, point, *iterations);
                else
                    trivial_task(cells, step * WIDTH + point, *iterations);
            }));
            if (pattern == STENCIL && step > 0)
                for (int at = point - 1; at <= point + 1; at++)
                    if (at >= 0 && at < WIDTH)
                        row[point].succeed(before[at]);
        }
        before = row;
    }
    return graph;
}

double run(Pattern pattern, int steps, uint64_t iterations)
{
    static std::map<std::pair<int, int>, std::unique_ptr<Graph>> graphs;
    auto &graph = graphs[{pattern, steps}];
    if (!graph)
        graph = build(pattern, steps);
    graph->iterations = iterations;
    double begin = now_ns();
    executor.run(graph->flow).wait();
    double time = now_ns() - begin;
    if (pattern == STENCIL)
        verify_stencil(cells, WIDTH, steps);
    return time;
}

double rate()
{
    double rates[WORKERS], sum = 0;
    std::vector<std::thread> threads;
    for (double &own : rates)
        threads.emplace_back([&own] { own = own_rate(); });
    for (auto &thread : threads)
        thread.join();
    for (double own : rates)
        sum += 1 / own;
    return (double)WORKERS / sum;
}

} // namespace

int main()
{
    static double trips[TRIPS];
    for (double &trip : trips) {
        double begin = now_ns();
        executor.async([] {}).wait();
        trip = now_ns() - begin;
    }
    tf::Taskflow independent, chain;
    tf::Task last;
    for (int task = 0; task < TASKS; task++) {
        independent.emplace([] {});
        tf::Task next = chain.emplace([] {});
        if (task > 0)
            next.succeed(last);
        last = next;
    }
    double apart[ROUNDS], chained[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        double begin = now_ns();
        executor.run(independent).wait();
        apart[round] = (now_ns() - begin) / TASKS;
        begin = now_ns();
        executor.run(chain).wait();
        chained[round] = (now_ns() - begin) / TASKS;
    }
    printf("rtt_ns_p50 %.1f\n", median(trips, TRIPS));
    printf("independent_ns %.1f\n", median(apart, ROUNDS));
    printf("chain_ns %.1f\n", median(chained, ROUNDS));
    metg(run, STENCIL, rate, "metg_stencil_w4_us");
    metg(run, TRIVIAL, rate, "metg_trivial_w4_us");
}
