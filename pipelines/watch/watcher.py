"""Take snapshots of a run in a thread of its own, so that whoever shows the latest one does not wait."""

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
"""Between two looks at a run that somebody works at, or that somebody looks at."""
IDLE_S = 20.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """What the page shows of a run at one moment. Never changed after it was made."""

    number: int
    """Counts up."""
    status: RunStatus
    seconds: list[float]
    """Times since the start, with the speed at each in the next two."""
    frames_per_s: list[float]
    rows_per_s: list[float]
    cells: Cells
    picture: Picture | None


class Watcher:
    """Looks at the run in a folder until it is closed. A folder without a run is waited for.

    The thread reads what was added to the run's files, and draws shards only while there are viewers; it takes no part
    in the event loop of a scheduler.
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
        """Begin to look."""
        self._thread.start()
        return self

    def watch(self, out: str | Path) -> None:
        """Look at the run in another folder from now on."""
        self.out = str(out)
        self._wake.set()

    def close(self) -> None:
        """Look no more."""
        self._over.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def add_viewer(self) -> None:
        """Somebody has opened the page."""
        with self._lock:
            self._viewers += 1
        self._wake.set()

    def remove_viewer(self) -> None:
        """Somebody has closed it."""
        with self._lock:
            self._viewers -= 1

    def take_snapshot(self) -> Snapshot:
        """Read the run as it is now. For one thread at a time.

        Raises
        ------
        InputError
            There is no run.
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
            except InputError as error:  # not there yet, or being replaced by another one
                logger.debug("%s", error)
                self._reader, self.latest = None, None
            except Exception:  # a page must not end because a file was odd for a moment
                logger.exception("the run in %s cannot be shown", self.out)
                self._reader = None
            busy = self._viewers or self.latest is None or self.latest.status.owner
            self._wake.wait(BUSY_S if busy else IDLE_S)
