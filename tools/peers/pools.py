"""Process pools of Python, measured as `mailring bench` measures: round trip of an empty task, many
independent tasks, and METG(50 %). Prints lines of a key and a value.

    pools.py executor|loky|ray KERNEL.so
"""

import ctypes
import math
import os
import statistics
import sys
import time

WORKERS, WIDTH, ROUNDS, PLACES = 2, 4, 3, 84
TIME_NS, MOST_TASKS, LEAST_TASKS = 100e6, 4096, 64

library = None


def kernel(iterations):
    """Runs the kernel of peer.h; loads it once in each process."""
    global library
    if library is None:
        library = ctypes.CDLL(os.environ["PEER_KERNEL"])
        library.run_kernel.argtypes = [ctypes.c_uint64]
        library.rate.restype = ctypes.c_double
    library.run_kernel(iterations)


def own_rate():
    kernel(1)
    return library.rate()


def nothing():
    pass


def task(iterations, number, before):
    """What a task computes depends on all that it waits for."""
    kernel(iterations)
    return hash((number, *before))


def waits_for(point):
    return range(max(point - 1, 0), min(point + 2, WIDTH))


def right(steps):
    row = [hash((point,)) for point in range(WIDTH)]
    for step in range(1, steps):
        row = [
            hash((step * WIDTH + point, *(row[other] for other in waits_for(point))))
            for point in range(WIDTH)
        ]
    return row


class Executor:
    """concurrent.futures and loky. There are no dependencies: the caller waits, and submits what has
    become ready."""

    def __init__(self, pool, end):
        self.pool, self.end = pool, end

    def round_trip(self):
        self.pool.submit(nothing).result()

    def independent(self, tasks):
        for future in [self.pool.submit(nothing) for _ in range(tasks)]:
            future.result()

    chain = None

    def rates(self):
        return [future.result() for future in [self.pool.submit(own_rate) for _ in range(WORKERS)]]

    def trivial(self, tasks, iterations):
        for future in [self.pool.submit(task, iterations, n, ()) for n in range(tasks)]:
            future.result()

    def stencil(self, steps, iterations):
        from queue import SimpleQueue

        values, left, through = {}, {}, SimpleQueue()

        def submit(step, point):
            before = [values[step - 1, other] for other in waits_for(point)] if step else []
            future = self.pool.submit(task, iterations, step * WIDTH + point, before)
            future.add_done_callback(lambda done: through.put((step, point, done)))

        for point in range(WIDTH):
            submit(0, point)
        for _ in range(steps * WIDTH):
            step, point, done = through.get()
            values[step, point] = done.result()
            if step + 1 == steps:
                continue
            for other in waits_for(point):
                missing = left.get((step + 1, other), len(waits_for(other))) - 1
                left[step + 1, other] = missing
                if missing == 0:
                    submit(step + 1, other)
        return [values[steps - 1, point] for point in range(WIDTH)]


class Ray:
    """Ray: tasks name the results of others, which is all the graph it needs."""

    def __init__(self, ray):
        self.ray = ray
        self.nothing = ray.remote(lambda *_: None)
        self.task = ray.remote(lambda iterations, number, *before: task(iterations, number, before))
        self.rate = ray.remote(own_rate)
        self.end = ray.shutdown

    def round_trip(self):
        self.ray.get(self.nothing.remote())

    def independent(self, tasks):
        self.ray.get([self.nothing.remote() for _ in range(tasks)])

    def chain(self, tasks):
        last = None
        for _ in range(tasks):
            last = self.nothing.remote(last)
        self.ray.get(last)

    def rates(self):
        return self.ray.get([self.rate.remote() for _ in range(WORKERS)])

    def trivial(self, tasks, iterations):
        self.ray.get([self.task.remote(iterations, number) for number in range(tasks)])

    def stencil(self, steps, iterations):
        row = [self.task.remote(iterations, point) for point in range(WIDTH)]
        for step in range(1, steps):
            row = [
                self.task.remote(
                    iterations, step * WIDTH + point, *(row[other] for other in waits_for(point))
                )
                for point in range(WIDTH)
            ]
        return self.ray.get(row)


def start(name):
    if name == "executor":
        from concurrent.futures import ProcessPoolExecutor

        pool = ProcessPoolExecutor(WORKERS)
        return Executor(pool, pool.shutdown)
    if name == "loky":
        from loky import get_reusable_executor

        pool = get_reusable_executor(WORKERS, timeout=60)
        return Executor(pool, lambda: pool.shutdown(wait=True))
    import ray

    ray.init(
        num_cpus=WORKERS,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=128 << 20,
        _temp_dir=os.environ["PEER_TEMP"] + "/ray",
    )
    return Ray(ray)


def seconds(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def metg(system, pattern):
    """As tools/src/bench/taskbench/metg.rs finds it; in microseconds."""

    def point(at):
        iterations = round(8 * 1.2**at)
        work = iterations * rate
        tasks = min(max(TIME_NS * WORKERS / (2 * max(work, 20e3)), LEAST_TASKS), MOST_TASKS)
        steps = max(int(tasks) // WIDTH, 1)
        begin = time.perf_counter()
        if pattern == "trivial":
            system.trivial(steps * WIDTH, iterations)
        else:
            row = system.stencil(steps, iterations)
        granularity = (time.perf_counter() - begin) * 1e9 * WORKERS / (steps * WIDTH)
        if pattern != "trivial" and row != right(steps):
            sys.exit("tasks ran in a wrong order")
        return granularity, work / granularity

    def search(at):
        nonlocal rate
        rates = system.rates()
        rate = len(rates) / sum(1 / own for own in rates)
        low = high = None
        stride = 1
        while low is None or high is None:
            found = point(at)
            if found[1] >= 0.5:
                high = (at, found)
            else:
                low = (at, found)
            if low and high:
                break
            following = min(max(at + (-stride if low is None else stride), 0), PLACES - 1)
            if following == at:
                return at, found[0]
            at, stride = following, 2 * stride
        while high[0] - low[0] > 1:
            middle = (low[0] + high[0]) // 2
            found = point(middle)
            if found[1] >= 0.5:
                high = (middle, found)
            else:
                low = (middle, found)
        (g0, e0), (g1, e1) = low[1], high[1]
        share = (math.log(0.5) - math.log(e0)) / (math.log(e1) - math.log(e0))
        return high[0], math.exp(math.log(g0) + share * (math.log(g1) - math.log(g0)))

    rate = None
    at, _ = search(60)
    values = []
    for _ in range(ROUNDS):
        at, value = search(at)
        values.append(value)
    return statistics.median(values) / 1e3


def main():
    system = start(sys.argv[1])
    for _ in range(50):
        system.round_trip()
    trips = [seconds(system.round_trip) for _ in range(500)]
    print(f"rtt_ns_p50 {statistics.median(trips) * 1e9:.0f}")
    for key, work, tasks in [
        ("independent_ns", system.independent, 2000),
        ("chain_ns", system.chain, 500),
    ]:
        if work:
            times = [seconds(lambda: work(tasks)) / tasks for _ in range(ROUNDS)]
            print(f"{key} {statistics.median(times) * 1e9:.0f}")
    for pattern in ["stencil", "trivial"]:
        print(f"metg_{pattern}_w4_us {metg(system, pattern):.1f}", flush=True)
    system.end()


if __name__ == "__main__":
    main()
