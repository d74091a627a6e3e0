"""Site for SLURM: check, submit and drive the worker jobs of a profile."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lls_decode.cluster.profile import Request, State

from .profile import SlurmProfile

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from distributed import Client

    from .unattended import Jobs


class SlurmSite(SlurmProfile):
    """Workers that run as SLURM jobs."""

    def open(self, request: Request) -> "AbstractContextManager[Client]":
        """Submit worker jobs for a client in this process, even if the profile's mode is unattended."""
        from .driver import open_interactive

        return open_interactive(self.replace(mode="interactive"), request)

    def examine(self) -> Iterator[tuple[State, str]]:
        """Ask SLURM whether it accepts the profile's jobs, and start the interpreter of these jobs."""
        from .diagnosis import examine_interpreter
        from .feasibility import check_site

        check_site(self)
        yield "ok", "SLURM accepts the jobs of the profile"
        yield examine_interpreter(self)

    def describe_scripts(self, out: Path, command: tuple[str, ...]) -> str:
        """Return the job scripts of driver and workers, as text."""
        from .unattended import describe_scripts

        return describe_scripts(self, out, command)

    def jobs(self, out: Path) -> "Jobs":
        """Return the jobs of the run in ``out``, whether or not they are submitted."""
        from .unattended import Jobs

        return Jobs.of(self, out)

    def drive(self, out: Path, *, workers: int | None = None) -> "AbstractContextManager[Client]":
        """Start the scheduler that the worker jobs connect to, and yield its client."""
        from .driver import drive

        return drive(self, out, workers=workers)
