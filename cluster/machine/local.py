"""Site for worker processes on this machine."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lls_decode.cluster.profile import Request, SiteProfile, State, gib_to_bytes

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from distributed import Client


class LocalSite(SiteProfile):
    """Worker processes on this machine."""

    kind: Literal["local"] = "local"
    workers: int | None = Field(default=None, ge=1)
    """Number of worker processes; None: a quarter of the number of cores."""
    memory_gib: float | None = Field(default=None, gt=0)
    """Memory of one worker, GiB; None: an equal share of the machine's memory."""

    def open(self, request: Request) -> "AbstractContextManager[Client]":
        """Start worker processes, and yield the client of these workers."""
        from .processes import open_processes

        workers = request.workers or self.workers or default_workers()
        return open_processes([{}] * workers, request, gib_to_bytes(self.memory_gib))

    def examine(self) -> Iterator[tuple[State, str]]:
        """Report ok; there is nothing to check."""
        yield "ok", "workers on this machine"


def default_workers(cores: int | None = None) -> int:
    """Return the number of worker processes of the local site: one per four cores, since the network uses threads."""
    from dask.system import CPU_COUNT

    return max(1, (cores or CPU_COUNT) // 4)
