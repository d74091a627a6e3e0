"""Interface to the jobs of an unattended run, independent of the batch scheduler."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol


class RunJobs(Protocol):
    """Jobs of the run in one folder: one driver job and several worker jobs."""

    @property
    def name(self) -> str:
        """Name that all jobs of the run have in the queue."""

    @property
    def logs(self) -> Path:
        """Folder that holds the logs of the jobs."""

    def queued_ids(self) -> list[str]:
        """Return the ids of all pending and running jobs; empty if the driver job is not among them."""

    def submit(self, workers: int | None, make_command: Callable[[Path], Sequence[str]]) -> str:
        """Check, write and submit all jobs; return a text with their numbers and ids.

        ``make_command`` takes the path of the profile that the driver job reads, and returns the arguments of the
        Python interpreter.
        """

    def describe(self) -> list[str]:
        """Return lines of text that say how to watch and cancel the jobs."""

    def watch(self) -> Callable[[], tuple[bool, list[str]]]:
        """Return a function that polls the queue: whether the driver job still exists, and new messages."""

    def latest_log(self) -> Path | None:
        """Return the most recent log of the driver job."""

    def last_error(self) -> str | None:
        """Return the error in the log that ended the driver job; None if there is none."""
