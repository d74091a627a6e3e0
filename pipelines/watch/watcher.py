"""Take snapshots of a run in a separate thread, so that the page that shows the latest one never waits."""

import logging
import threading
from dataclasses import dataclass
from pathlib import Path

from lls_decode.errors import InputError
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.status.reader import DONE, RunReader
from lls_decode.pipelines.status.run_status import RunStatus

from .picture import LivePicture, Picture
from .strip import Cells, make_cells

BUSY_S = 2.0
"""Time between two snapshots while the run is active or its page is open."""
IDLE_S = 20.0
"""Time between two snapshots otherwise."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """Content of the page at one moment. Never changed after its creation."""

    number: int
    """Number of the snapshot, in ascending order."""
    status: RunStatus
    seconds: list[float]
    """Times since the start, at which ``frames_per_s`` and ``rows_per_s`` are given."""
    frames_per_s: list[float]
    rows_per_s: list[float]
    cells: Cells
    picture: Picture | None
    """Picture of the localizations found so far; None before the first rows."""


class Watcher:
    """Watcher that takes snapshots of the run in a folder until it is closed. It waits until the folder has a run.

    Its thread reads what was added to the files of the run, and draws shards only while the page is open. It does not
    use the event loop of a scheduler.
    """

    def __init__(self, out: str | Path) -> None:
        self.out = str(out)
        self.latest: Snapshot | None = None
        self._viewers = 0
        self._number = 0
        self._over = threading.Event()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._reader: RunReader | None = None
        self._picture: LivePicture | None = None
        self._drawn_for: object = None
        self._thread = threading.Thread(target=self._work, name="lls-decode-watch", daemon=True)

    def start(self) -> "Watcher":
        """Start the thread that takes snapshots."""
        self._thread.start()
        return self

    def watch(self, out: str | Path) -> None:
        """Switch to the run in another folder."""
        self.out = str(out)
        self._wake.set()

    def close(self) -> None:
        """Stop the thread."""
        self._over.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def add_viewer(self) -> None:
        """Count a page that was opened."""
        with self._lock:
            self._viewers += 1
        self._wake.set()

    def remove_viewer(self) -> None:
        """Count a page that was closed."""
        with self._lock:
            self._viewers -= 1

    def take_snapshot(self) -> Snapshot:
        """Read the current status of the run and return it as a snapshot. For one thread at a time.

        Raises
        ------
        InputError
            The folder contains no run.
        """
        if self._reader is None or self._reader.out != self.out:
            self._reader = RunReader(self.out)
        reader = self._reader
        status = reader.read()
        states = reader.states
        if self._viewers:
            if self._picture is None or self._drawn_for is not reader.record:
                self._picture = LivePicture(RunFolder(Path(self.out)).shards, reader.record, reader.blocks)
                self._drawn_for = reader.record
            self._picture.step(states == DONE)
        self._number += 1
        seconds, frames_per_s, rows_per_s = reader.history.rates()
        return Snapshot(
            number=self._number,
            status=status,
            seconds=seconds,
            frames_per_s=frames_per_s,
            rows_per_s=rows_per_s,
            cells=make_cells(reader.blocks, states),
            picture=self._picture.picture() if self._picture is not None else None,
        )

    def _work(self) -> None:
        while not self._over.is_set():
            self._wake.clear()
            try:
                self.latest = self.take_snapshot()
            except InputError as error:  # the run does not exist yet, or is being replaced by another one
                logger.debug("%s", error)
                self._reader, self.latest = None, None
            except Exception:  # the page must survive a file that is invalid for a moment
                logger.exception("the run in %s cannot be shown", self.out)
                self._reader = None
            busy = self._viewers or self.latest is None or self.latest.status.owner
            self._wake.wait(BUSY_S if busy else IDLE_S)
