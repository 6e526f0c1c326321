"""Many tasks on a few processes, with no more of them waiting than there is work for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context
from typing import Any, TypeVar

Result = TypeVar("Result")


def in_processes(
    function: Callable[..., Result], tasks: Iterable[tuple[Any, ...]], jobs: int
) -> Iterator[Result]:
    """`function(*task)` of each task, as they come; in this process where `jobs` is 1.

    Processes are spawned, so `function` is one of a module, and what it reads is loaded anew.

    Example:
        >>> list(in_processes(pow, [(2, 3), (3, 2)], jobs=1))
        [8, 9]
    """
    tasks = iter(tasks)
    if jobs == 1:
        yield from (function(*task) for task in tasks)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running: set[Future[Result]] = {
            pool.submit(function, *task) for task in islice(tasks, 2 * jobs)
        }
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(function, *task) for task in islice(tasks, len(done))}
            yield from (future.result() for future in done)
