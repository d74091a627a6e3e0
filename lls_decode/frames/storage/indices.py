"""Indices of shards that were fetched a moment ago: each chunk of a remote shard is read by itself, and needs it.

zarr does not say that it asks for an index. A small range at either end of a file may be one; a chunk that lies there
is kept as well, which does no harm.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from zarr.abc.store import ByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import Buffer

LARGEST_BYTES = 1 << 18
LIFE_S = 30.0
"""After this an index is fetched anew: the shard may have been repaired."""
MOST = 64


class Indices:
    """What was fetched, or is being fetched, of a store. For zarr's event loop alone."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, ByteRequest], tuple[float, asyncio.Task[Buffer | None]]] = {}

    async def get(
        self, key: str, byte_range: ByteRequest | None, fetch: Callable[[], Awaitable[Buffer | None]]
    ) -> Buffer | None:
        """Bytes of a file, fetched unless they may be an index that is known."""
        if byte_range is None or not _may_be_index(byte_range):
            return await fetch()
        asked_at, task = self._tasks.get((key, byte_range), (0.0, None))
        if task is None or time.monotonic() - asked_at > LIFE_S:
            while len(self._tasks) >= MOST:
                del self._tasks[next(iter(self._tasks))]
            task = asyncio.ensure_future(_awaited(fetch))
            self._tasks[key, byte_range] = time.monotonic(), task
        try:
            return await asyncio.shield(task)
        except BaseException:
            self._tasks.pop((key, byte_range), None)
            raise


async def _awaited(fetch: Callable[[], Awaitable[Buffer | None]]) -> Buffer | None:
    return await fetch()


def _may_be_index(byte_range: ByteRequest) -> bool:
    if isinstance(byte_range, SuffixByteRequest):
        return byte_range.suffix <= LARGEST_BYTES
    return isinstance(byte_range, RangeByteRequest) and byte_range.start == 0 and byte_range.end <= LARGEST_BYTES
