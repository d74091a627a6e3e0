"""Serve pages of runs in the background while a test reads them."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager


@contextmanager
def served_by_a_thread(page: Callable[[], AbstractAsyncContextManager[str]]) -> Iterator[str]:
    """Open a page in the event loop of a separate thread, and yield its address."""
    ready, stop, found = threading.Event(), threading.Event(), []

    async def work() -> None:
        async with page() as link:
            found.append(link)
            ready.set()
            while not stop.is_set():
                await asyncio.sleep(0.05)

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    assert ready.wait(60)
    try:
        yield found[0]
    finally:
        stop.set()
        thread.join()
