"""Numbered parts of work on all cores: long-lived worker processes, results in order, any width alike."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

from carg.errors import StoreError

Job = TypeVar("Job")
Result = TypeVar("Result")


def n_workers(width: int | None) -> int:
    """The number of worker processes: as asked, else one for each core this process may use."""
    return width if width else max(1, len(os.sched_getaffinity(0)))


def _begin_worker() -> None:
    """The parent alone hears Ctrl-C and tells a worker when to go; a worker dies with it, even after kill -9."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def map_parts(work: Callable[[Job], Result], jobs: Iterable[Job], *, width: int | None = None) -> Iterator[Result]:
    """`work` over the jobs, in order; at most twice as many wait as work. With one worker it runs in this process.

    Raises what a job raises; StoreError where a worker was killed.
    """
    width = n_workers(width)
    if width == 1:
        yield from map(work, jobs)
        return
    # spawn, not fork: polars and torch hold threads that a fork would break.
    context = multiprocessing.get_context("spawn")
    rest = iter(jobs)
    with ProcessPoolExecutor(width, mp_context=context, initializer=_begin_worker) as pool:
        waiting: list[Any] = [pool.submit(work, job) for job in islice(rest, 2 * width)]
        try:
            while waiting:
                result = waiting.pop(0).result()
                waiting += [pool.submit(work, job) for job in islice(rest, 1)]
                yield result
        except KeyboardInterrupt:
            # What they are at is lost, a part each; to wait for it might take longer than a time limit allows.
            for child in multiprocessing.active_children():
                child.kill()
            raise
        except BrokenProcessPool as fault:
            raise StoreError("a worker process was killed", "is there enough memory? run it again to go on") from fault
        finally:
            for future in waiting:
                future.cancel()
