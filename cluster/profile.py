"""Base class of all site profiles: the interface that every kind of site implements.

To add a kind of site, write a subclass of `SiteProfile` and add one line to `site.KINDS`. No other code may depend on
the kind of a profile.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lls_decode.config.base import Config
from lls_decode.errors import SiteError

from .settings import DASHBOARD

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from distributed import Client

    from .jobs import RunJobs

GIB = 2**30


def gib_to_bytes(gib: float | None) -> int | None:
    """Convert GiB to bytes; None stays None."""
    return None if gib is None else int(gib * GIB)


State = Literal["ok", "note", "wrong"]
"""Result of one check of 'lls-decode doctor'."""


@dataclass(frozen=True)
class Request:
    """Request for workers of a site."""

    site: str
    """Name of the site as the user gave it, for messages."""
    workers: int | None = None
    """Number of worker processes or jobs; None: as in the profile."""
    memory_limit: int | str | None = None
    """Memory of one worker, in bytes or as ``"4 GiB"``; None: as in the profile."""
    dashboard_address: str = DASHBOARD
    timeout_s: float = 60.0
    folder: Path = Path()
    """Folder for the logs and scripts of jobs."""


class SiteProfile(Config, ABC):
    """Profile of machines that a run can use: how to start workers there, and their resources."""

    kind: str

    @property
    def name(self) -> str:
        """Name of the site in messages, if the user gave a profile instead of a name."""
        return self.kind

    @property
    def is_unattended(self) -> bool:
        """Whether runs are submitted as jobs (`jobs`) and need no process on this machine while they run."""
        return False

    @property
    def worker_threads(self) -> int | None:
        """Number of CPU threads of one worker process; None: the run decides."""
        return None

    @property
    def worker_bytes(self) -> int | None:
        """Memory limit of one worker process in bytes; None: known only after the worker has started."""
        return None

    @property
    def patience_s(self) -> float | None:
        """Time in seconds that a run waits while it has no workers; None: the run decides."""
        return None

    @abstractmethod
    def open(self, request: Request) -> "AbstractContextManager[Client]":
        """Yield a client with workers, and on exit close everything that this call opened.

        Raises
        ------
        SiteError
            The site is unreachable or provides no workers.
        """

    @abstractmethod
    def examine(self) -> Iterator[tuple[State, str]]:
        """Check the site without running anything on it; yield states and descriptions for 'lls-decode doctor'.

        Raises
        ------
        SiteError
            The site cannot be used.
        """

    def refuse_memory_limit(self, memory_limit: int | str | None) -> None:
        """Raise `SiteError` if a memory limit is given that the site cannot apply."""

    def describe_scripts(self, out: Path, command: tuple[str, ...]) -> str | None:
        """Return the job scripts that a run in ``out`` would submit, as text; None if the site submits no jobs."""
        return None

    def jobs(self, out: Path) -> "RunJobs":
        """Return the jobs of the run in ``out``, whether or not they are submitted (unattended sites only)."""
        raise SiteError(f"Site {self.name} submits no jobs; give an unattended site.")

    def drive(self, out: Path, *, workers: int | None = None) -> "AbstractContextManager[Client]":
        """Yield the client of the run in ``out``; called inside its driver job (unattended sites only)."""
        raise SiteError(f"Site {self.name} has no driver jobs; give an unattended site.")
