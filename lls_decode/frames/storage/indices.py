"""Short-lived cache of shard indices, because each chunk of a remote shard is read separately and needs the index.

zarr requests do not state whether they are for an index. Any small range at either end of a file may be an index; a
chunk in this range is cached as well, which does no harm.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from zarr.abc.store import ByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import Buffer

LARGEST_BYTES = 1 << 18
LIFE_S = 30.0
"""Time after which an index is fetched again, because the shard may have been repaired."""
MOST = 64


class Indices:
    """Cache of finished and pending requests for the indices of a store, for use in zarr's event loop only."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, str], tuple[float, asyncio.Task[Buffer | None]]] = {}

    async def get(
        self, key: str, byte_range: ByteRequest | None, fetch: Callable[[], Awaitable[Buffer | None]]
    ) -> Buffer | None:
        """Return bytes of a file, from the cache if they may be a cached index, otherwise fetched."""
        if byte_range is None or not _may_be_index(byte_range):
            return await fetch()
        place = (key, repr(byte_range))  # zarr's requests cannot be hashed in its older versions
        asked_at, task = self._tasks.get(place, (0.0, None))
        if task is None or time.monotonic() - asked_at > LIFE_S:
            while len(self._tasks) >= MOST:
                del self._tasks[next(iter(self._tasks))]
            task = asyncio.ensure_future(_awaited(fetch))
            self._tasks[place] = time.monotonic(), task
        try:
            return await asyncio.shield(task)
        except BaseException:
            self._tasks.pop(place, None)
            raise


async def _awaited(fetch: Callable[[], Awaitable[Buffer | None]]) -> Buffer | None:
    return await fetch()


def _may_be_index(byte_range: ByteRequest) -> bool:
    if isinstance(byte_range, SuffixByteRequest):
        return byte_range.suffix <= LARGEST_BYTES
    return isinstance(byte_range, RangeByteRequest) and byte_range.start == 0 and byte_range.end <= LARGEST_BYTES
