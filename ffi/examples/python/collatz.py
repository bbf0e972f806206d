"""Python functions on two worker processes: collatz lengths in tiles, a group, a failure.

    PYTHONPATH=PREFIX/share/mailring python3 ffi/examples/python/collatz.py
"""

import os

import mailring
from mailring import FLOAT64, INOUT, INPUT, OUTPUT, UINT64

TILES, TILE = 20, 100


def lengths(tensors, scalars, _context):
    """The number of steps from each n to 1."""
    for i in range(TILE):
        n, steps = scalars[0] + i, 0
        while n != 1:
            n, steps = (3 * n + 1 if n % 2 else n // 2), steps + 1
        tensors[0][i] = steps


def longest(tensors, _scalars, context):
    """A member for each half of the tiles; both meet, and the first one says which was longest."""
    parts = tensors[:-1][context.member::context.members]
    context.fetch_add(context.member, max(max(part) for part in parts))
    context.barrier()
    if context.member == 0:
        tensors[-1][0] = max(context.load(member) for member in range(context.members))
        tensors[-1][1] = os.getpid()


def halve(tensors, _scalars, _context):
    numbers = mailring.doubles(tensors[0])
    for i, number in enumerate(numbers):
        numbers[i] = number / 2


def divide(tensors, scalars, _context):
    tensors[0][0] //= scalars[0]


with mailring.Executor({"lengths": lengths, "longest": longest, "halve": halve,
                        "divide": divide},
                       workers=2) as exec_:
    result = exec_.buffer(2, UINT64)
    with exec_.run() as run:
        tiles = []
        for tile in range(TILES):
            task = run.submit("lengths", (OUTPUT, mailring.output(TILE, UINT64)), 1 + tile * TILE)
            tiles.append(run.output(task))
        values = [(INPUT, tile) for tile in tiles] + [(OUTPUT, result)]
        run.submit_group("longest", [values, values])
    count, pid = result.view()
    assert pid not in (0, os.getpid())
    print(f"longest of {TILES * TILE}: {count} steps, found in another process")

    halves = exec_.buffer(6, FLOAT64)
    halves.view()[:] = memoryview(bytes(48)).cast("d")
    halves.view()[2], halves.view()[5] = 5.0, 7.0
    with exec_.run() as run:
        run.submit("halve", (INOUT, halves.part(1, 3)))
    assert list(halves.view()) == [0, 0, 2.5, 0, 0, 7.0]
    halves.free()

    try:
        with exec_.run() as run:
            run.submit("divide", (INOUT, result), 0, name="by nothing")
    except mailring.TaskError as error:
        print(f"`{error.name}` failed on worker {error.worker}: {error.said}")
    result.free()
