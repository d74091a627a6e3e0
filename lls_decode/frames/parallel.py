"""Application of a function to many items in threads, in bounded memory."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[tuple[T, R]]:
    """Process items in threads; yield each item with its result as soon as it is ready.

    Only as many items are queued as keep the threads busy. The first error cancels all items that have not started.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="frames") as pool:
        pending: dict[Future[R], T] = {}
        try:
            for item in items:
                pending[pool.submit(work, item)] = item
                if len(pending) >= 2 * workers:
                    yield from _ready(pending)
            while pending:
                yield from _ready(pending)
        finally:
            pool.shutdown(cancel_futures=True)


def _ready(pending: dict[Future[R], T]) -> Iterator[tuple[T, R]]:
    done, _ = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        yield pending.pop(future), future.result()
