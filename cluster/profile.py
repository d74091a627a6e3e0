"""What every kind of site is asked, and can answer: the base of all site profiles.

A new kind of site is one subclass of `SiteProfile`, and one line in `site.KINDS`. Nobody asks a profile for its kind.
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
    """Convert GiB of a profile, where they are given, to bytes."""
    return None if gib is None else int(gib * GIB)


State = Literal["ok", "note", "wrong"]
"""Result of one check of a doctor."""


@dataclass(frozen=True)
class Request:
    """What a caller asks of a site."""

    site: str
    """Site as the user named it, for messages."""
    workers: int | None = None
    """Worker processes, or jobs; None: as the profile says."""
    memory_limit: int | str | None = None
    """Memory of one worker, bytes or ``"4 GiB"``; None: as the profile says."""
    dashboard_address: str = DASHBOARD
    timeout_s: float = 60.0
    folder: Path = Path()
    """Folder in which jobs leave their logs and scripts."""


class SiteProfile(Config, ABC):
    """Machines that a run can use: how to get workers there, and what they can do."""

    kind: str

    @property
    def name(self) -> str:
        """Name of the site in messages, when the user gave a profile without a name."""
        return self.kind

    @property
    def is_unattended(self) -> bool:
        """Whether a run is submitted as jobs (`jobs`), and needs no process here until it is over."""
        return False

    @property
    def worker_threads(self) -> int | None:
        """CPU threads of one worker process; None: the run decides."""
        return None

    @property
    def worker_bytes(self) -> int | None:
        """Memory limit of one worker process; None: known only when the worker has started."""
        return None

    @property
    def patience_s(self) -> float | None:
        """How long a run waits while it has no worker at all; None: the run decides."""
        return None

    @abstractmethod
    def open(self, request: Request) -> "AbstractContextManager[Client]":
        """Yield a client with workers, and close on exit what was opened here.

        Raises
        ------
        SiteError
            The site is unreachable, or gives no workers.
        """

    @abstractmethod
    def examine(self) -> Iterator[tuple[State, str]]:
        """Check the site for a doctor without running anything on it: states and words.

        Raises
        ------
        SiteError
            The site cannot be used.
        """

    def refuse_memory_limit(self, memory_limit: int | str | None) -> None:
        """Raise `SiteError` where a memory limit was given that the site cannot apply."""

    def describe_scripts(self, out: Path, command: tuple[str, ...]) -> str | None:
        """Return the job scripts that a run in ``out`` would submit, as text; None: the site has no jobs."""
        return None

    def jobs(self, out: Path) -> "RunJobs":
        """Return the jobs of the run in ``out``, submitted or not (unattended sites only)."""
        raise SiteError(f"Site {self.name} submits no jobs; give an unattended site.")

    def drive(self, out: Path, *, workers: int | None = None) -> "AbstractContextManager[Client]":
        """Yield the client of the run in ``out``, inside its driver job (unattended sites only)."""
        raise SiteError(f"Site {self.name} has no driver jobs; give an unattended site.")
