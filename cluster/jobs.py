"""Jobs of an unattended run, as whoever submits and follows them sees them, whatever the scheduler."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol


class RunJobs(Protocol):
    """The jobs of the run in one folder: a driver, and workers."""

    @property
    def name(self) -> str:
        """Name that all of them have in the queue."""

    @property
    def logs(self) -> Path:
        """Folder of their logs."""

    def queued_ids(self) -> list[str]:
        """Ids of all jobs that wait or run, when the driver is among them; else none."""

    def submit(self, workers: int | None, make_command: Callable[[Path], Sequence[str]]) -> str:
        """Check, write and submit all jobs; gives their numbers and ids in words.

        ``make_command`` is given the path of the profile that the driver reads, and gives the words after the
        interpreter.
        """

    def describe(self) -> list[str]:
        """Lines that say how to watch and to cancel them."""

    def watch(self) -> Callable[[], tuple[bool, list[str]]]:
        """Return a function that looks at the queue: whether the driver is still there, and what is new to say."""

    def latest_log(self) -> Path | None:
        """Log of the driver that was written last."""

    def last_error(self) -> str | None:
        """Error that ended the driver, from its log; None: the log has none."""
