"""SLURM as a site: how worker jobs are checked, submitted and driven for a profile."""

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
    """Workers that are jobs of SLURM."""

    def open(self, request: Request) -> "AbstractContextManager[Client]":
        """Submit worker jobs for a client in this process, whatever the mode."""
        from .driver import open_interactive

        return open_interactive(self.replace(mode="interactive"), request)

    def examine(self) -> Iterator[tuple[State, str]]:
        """Ask SLURM for what the profile wants, and start the interpreter of its jobs."""
        from .diagnosis import examine_interpreter
        from .feasibility import check_site

        check_site(self)
        yield "ok", "SLURM gives what the profile asks for"
        yield examine_interpreter(self)

    def describe_scripts(self, out: Path, command: tuple[str, ...]) -> str:
        """Return the scripts of driver and workers."""
        from .unattended import describe_scripts

        return describe_scripts(self, out, command)

    def jobs(self, out: Path) -> "Jobs":
        """Return the jobs of the run in ``out``, submitted or not."""
        from .unattended import Jobs

        return Jobs.of(self, out)

    def drive(self, out: Path, *, workers: int | None = None) -> "AbstractContextManager[Client]":
        """Start the scheduler that the worker jobs look for."""
        from .driver import drive

        return drive(self, out, workers=workers)
