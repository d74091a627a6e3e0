"""The output folder of a run: where things lie in it, what it says of its run, and that one program writes at a time.

OUT/run.json  run.lock  ledger.jsonl  events.jsonl  localizations.parquet  shards/<block>.parquet  logs/
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lls_decode.axes import Layout
from lls_decode.blocks import Block, plan_blocks
from lls_decode.errors import InputError, OutputError
from lls_decode.table.files import output_error, written_aside

from .lock import FolderLock, owner_of

FREE_POLL_S = 2.0

_OF_A_RUN = ("run.json", "ledger.jsonl", "events.jsonl", "localizations.parquet", "molecules.parquet", "report.html")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """Paths in an output folder, and its record."""

    out: Path

    @property
    def shards(self) -> Path:
        """Folder of the shards."""
        return self.out / "shards"

    @property
    def record(self) -> Path:
        """What is run: everything that is needed to do it again."""
        return self.out / "run.json"

    @property
    def ledger(self) -> Path:
        """One JSON line per finished block."""
        return self.out / "ledger.jsonl"

    @property
    def events(self) -> Path:
        """One JSON line per event."""
        return self.out / "events.jsonl"

    @property
    def table(self) -> Path:
        """The merged table."""
        return self.out / "localizations.parquet"

    @property
    def lock(self) -> Path:
        """Who writes into the folder."""
        return self.out / "run.lock"

    def create(self) -> None:
        """Make the folder and those inside it."""
        try:
            for folder in (self.shards, self.out / "logs"):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(self.out, error) from error

    def read_record(self) -> dict[str, Any] | None:
        """The content of ``run.json``; None when there is none.

        Raises
        ------
        OutputError
            The file is there and is no JSON object.
        """
        try:
            record = json.loads(self.record.read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise OutputError(f"{self.record} cannot be read ({error}); restore it, or use another folder.") from error
        if not isinstance(record, dict):
            raise OutputError(f"{self.record} holds no JSON object; restore it, or use another folder.")
        return record

    def read_run(self) -> tuple[dict[str, Any], tuple[Block, ...]]:
        """The record of the run in the folder, and its blocks.

        Raises
        ------
        InputError
            The folder holds no run, or its record cannot be read.
        """
        try:
            record = self.read_record()
        except OutputError as error:
            raise InputError(str(error)) from error
        if record is None:
            raise InputError(f"{self.out} holds no run (no run.json in it); give the folder that was given as --out.")
        config = record["config"]
        block_frames, volumes = int(config["execution"]["block_frames"]), config["part"]["volumes"] or (None, None)
        return record, plan_blocks(Layout(**record["layout"]), record["context"], block_frames, volumes=volumes)

    def write_record(self, record: dict[str, Any]) -> None:
        """Write ``run.json`` aside and rename it.

        Raises
        ------
        OutputError
            Full disk, read-only folder.
        """
        with written_aside(self.record) as temporary:
            temporary.write_text(json.dumps(record, indent=1))

    def list_shards(self) -> set[str]:
        """Block ids that have a shard, by name only: a shard gets its name when it is complete."""
        return {path.stem for path in self.shards.glob("b*.parquet")} if self.shards.is_dir() else set()

    def owner(self) -> str | None:
        """Who works in the folder at the moment, in words; None when nobody does. Writes nothing."""
        try:
            return owner_of(self.lock)
        except OSError:
            return None

    def wait_until_free(self) -> None:
        """Wait for whoever works in the folder: the driver on a lost node lives on until SLURM reaches the node."""
        said, lock = "", FolderLock(self.lock)
        while (owner := lock.holder()) is not None:
            if owner != said:
                logger.info("waiting for %s to let go of %s", owner, self.out)
                said = owner
            time.sleep(FREE_POLL_S)

    def clear(self) -> None:
        """Remove what a run has written, and nothing else."""
        for name in _OF_A_RUN:
            (self.out / name).unlink(missing_ok=True)
        for shard in self.shards.glob("b*.parquet"):
            shard.unlink()

    @contextmanager
    def locked(self) -> Iterator[FolderLock]:
        """Hold the folder: a second program that wants it is refused.

        Raises
        ------
        RunConflictError
            Another program that is alive holds it.
        OutputError
            The folder cannot be written.
        """
        lock = FolderLock(self.lock)
        lock.acquire()
        try:
            yield lock
        finally:
            lock.release()
