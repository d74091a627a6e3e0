"""Many datasets with one command: looked at first, done one after the other on the same workers, told in one table.

What is wrong with a dataset is a row of the table, and the others are done. The table is written anew after each data
set; run folders know what is done, so the same command goes on wherever it was stopped.

Every dataset is planned twice: all of them before anything starts, to report what will be done, and each again when
its turn comes, because the plans of an archive do not fit into memory together.
"""

import csv
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
from distributed import Client

from lls_decode.errors import (
    EXIT_BLOCKS_FAILED,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    LlsDecodeError,
    OutputError,
    RunConflictError,
    SiteError,
    TableError,
)
from lls_decode.outputs import check_not_read, is_forced
from lls_decode.pipelines.journal.events import Listener
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.planning.block_selection import Share
from lls_decode.pipelines.planning.plan import Plan, adopt_dtype, make_plan
from lls_decode.pipelines.running.interrupts import Interrupted, interruptible, raise_if_asked
from lls_decode.pipelines.running.ownership import read_own_record, refuse_conflict
from lls_decode.pipelines.running.run import RunResult, run
from lls_decode.pipelines.running.submission import NO_WORKERS_S
from lls_decode.pipelines.status.progress import show_progress
from lls_decode.table import read_metadata, written_aside
from lls_decode.table.files import output_error

from .datasets import BatchEntry

Status = Literal["done", "new", "unfinished", "incomplete", "failed", "waiting"]
"""``new`` and ``unfinished`` before a run, ``incomplete`` (blocks failed, or it was interrupted) after one; ``failed``:
nothing could be done; ``waiting``: not looked at, or not its turn."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchRow:
    """How a dataset stands: one line of the table."""

    dataset: str
    status: Status
    reason: str = ""
    """Why it is not done, or what is to be known of it."""
    rows: int | None = None
    """Localizations in its table."""
    blocks: int | None = None
    """Of its plan."""
    failed: int | None = None
    """Blocks whose frames are missing from the table."""
    seconds: float | None = None
    """That its latest run took."""
    digest: str = ""
    """Of its run: the same for the same data, model and configuration."""
    table: str = ""

    @property
    def to_do(self) -> bool:
        """Whether there is something to run."""
        return self.status in ("new", "unfinished")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class BatchResult:
    """How a batch ended."""

    rows: tuple[BatchRow, ...]
    """Of the datasets that were asked for, in order."""
    exit_status: int

    @classmethod
    def of(cls, rows: Sequence[BatchRow]) -> "BatchResult":
        """The end of a batch that nothing interrupted."""
        failed = any(row.status in ("failed", "incomplete") for row in rows)
        return cls(tuple(rows), EXIT_BLOCKS_FAILED if failed else EXIT_DONE)


def plan_batch(
    datasets: Sequence[BatchEntry],
    *,
    force: bool = False,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[BatchRow, ...]:
    """How each dataset stands before anything is done. Writes nothing.

    Parameters
    ----------
    force
        Other runs in the folders are to be discarded, and frames that the camera cannot have recorded accepted.
    limit
        Datasets that are done, at most; further ones wait.
    progress
        Called after each dataset with their number so far, and in all.
    """
    found: list[BatchRow] = []
    for item in datasets:
        row = _plan_entry(item, force=force)
        if row.to_do and limit is not None:
            limit -= 1
            row = replace(row, status="waiting", reason="beyond the limit") if limit < 0 else row
        found.append(row)
        if progress is not None:
            progress(len(found), len(datasets))
    return tuple(found)


def batch(
    datasets: Sequence[BatchEntry],
    rows: Sequence[BatchRow],
    client: Client,
    write: Callable[[Sequence[BatchRow]], None],
    *,
    force: bool = False,
    listen: Callable[[], AbstractContextManager[Listener]] = show_progress,
    no_workers_s: float = NO_WORKERS_S,
) -> BatchResult:
    """Run each dataset whose row (of `plan_batch`) says so.

    Ctrl-C ends it with a result of status 130, SIGTERM and SIGUSR1 with 143, when it runs in the main thread.

    Parameters
    ----------
    write
        Given all rows after each dataset.
    force
        Discard what other runs have left in the folders, and accept frames that the camera cannot have recorded.
    listen
        Opened for each dataset; its listener is told what happens.

    Raises
    ------
    SiteError
        The scheduler, or all workers, are gone; the next dataset would fare no better.
    """
    now = list(rows)
    try:
        with interruptible():
            for number, item in enumerate(datasets):
                raise_if_asked()
                if not now[number].to_do:
                    continue
                logger.info("%d/%d %s", number + 1, len(datasets), item.dataset)
                with listen() as listener:
                    now[number], status = _do(item, client, listener, force=force, no_workers_s=no_workers_s)
                write(now)
                if status in (EXIT_INTERRUPTED, EXIT_TERMINATED):
                    return BatchResult(tuple(now), status)
    except (Interrupted, KeyboardInterrupt) as interrupt:
        status = interrupt.exit_status if isinstance(interrupt, Interrupted) else EXIT_INTERRUPTED
        return BatchResult(tuple(now), status)
    return BatchResult.of(now)


def _plan_entry(item: BatchEntry, *, force: bool) -> BatchRow:
    try:
        plan = make_plan(item.dataset, item.model, item.out, item.config, force=force)
        refuse_conflict(plan, force=force)
        folder = RunFolder(plan.out)
        own = read_own_record(plan, folder)
    except Exception as error:
        return _failed_row(item, error)
    row = _row_of(plan, status="new")
    if own is None:
        return replace(row, reason="discards another run") if folder.record.exists() else row
    rows = _rows_when_done(plan)
    if rows is not None:
        return replace(row, status="done", rows=rows, failed=0, reason="done before")
    found, missing = len(folder.list_shards()), ", frames are missing" if _has_lost_frames(plan) else ""
    return replace(row, status="unfinished", reason=f"{found} of {len(plan.blocks)} blocks are done{missing}")


def _do(
    item: BatchEntry, client: Client, listener: Listener, *, force: bool, no_workers_s: float
) -> tuple[BatchRow, int]:
    """Run a dataset; its row, and the exit status of its run."""
    from lls_decode.pipelines.watch.serving import (
        attach,
    )  # Bokeh: not needed by whoever only looks at what there is to do

    began = time.monotonic()
    try:
        # again: plans of an archive fill the memory
        plan = make_plan(item.dataset, item.model, item.out, item.config, force=force)
        attach(client, plan.out)
        result = run(plan, client, listeners=[listener], force=force, no_workers_s=no_workers_s)
    except SiteError:
        raise
    except Exception as error:
        row = _failed_row(item, error)
        return replace(row, seconds=round(time.monotonic() - began, 2)), EXIT_BLOCKS_FAILED
    row = replace(
        _row_of(adopt_dtype(plan), status="done" if result.exit_status == EXIT_DONE else "incomplete"),
        reason=_reason(result),
        rows=result.rows,
        failed=len(result.failed),
        seconds=round(time.monotonic() - began, 2),
    )
    return row, result.exit_status


def _row_of(plan: Plan, *, status: Status) -> BatchRow:
    table = str(RunFolder(plan.out).table)
    return BatchRow(plan.dataset, status, blocks=len(plan.blocks), digest=plan.run_digest, table=table)


def _failed_row(item: BatchEntry, error: Exception) -> BatchRow:
    """Of a dataset that cannot be run: for a reason that is known, or whatever libraries make of a broken file."""
    words = " ".join(str(error).split())
    if not isinstance(error, LlsDecodeError):
        logger.debug("%s", item.dataset, exc_info=error)
        words = f"{type(error).__name__}: {words}"
    elif isinstance(error, RunConflictError):
        words = words.replace("--out", "'out'")
    return BatchRow(item.dataset, "failed", reason=words, table=str(RunFolder(item.out).table))


def _rows_when_done(plan: Plan) -> int | None:
    """Rows of the merged table when it is that of the plan and lacks no block."""
    table = RunFolder(plan.out).table
    try:
        metadata = read_metadata(table)
    except TableError:
        return None
    same = metadata.run_digest == plan.run_digest and metadata.input.get("identity") == plan.source.identity
    whole = same and not metadata.missing_blocks and not metadata.lost_frames
    return pq.read_metadata(table).num_rows if whole else None


def _has_lost_frames(plan: Plan) -> bool:
    """Whether the merged table is there and lacks frames that could not be read."""
    try:
        return bool(read_metadata(RunFolder(plan.out).table).lost_frames)
    except TableError:
        return False


def _reason(result: RunResult) -> str:
    if result.exit_status in (EXIT_INTERRUPTED, EXIT_TERMINATED):
        return "interrupted"
    if not result.failed:
        return f"{result.num_lost} frames could not be read: {result.lost_reason}" if result.lost else ""
    more = f" (and {len(result.failed) - 1} more)" if len(result.failed) > 1 else ""
    return f"{result.failed[0].reason}{more}"


@dataclass(frozen=True)
class BatchTable:
    """The table of a batch: a ``.csv`` over all datasets, also those that this start leaves alone."""

    path: Path
    datasets: tuple[BatchEntry, ...]
    """All, in order."""
    earlier: Mapping[str, BatchRow]
    """What the tables in the folder say of datasets that were run, by dataset and table."""

    @classmethod
    def of(cls, out: Path, datasets: Sequence[BatchEntry], share: Share | None = None) -> "BatchTable":
        """The table in the folder of a batch; jobs that do shares have one each."""
        path = out / (f"batch.{share.name}.csv" if share else "batch.csv")
        check_not_read(path)
        if path.exists() and not is_forced() and not _is_batch_table(path):
            raise OutputError(f"{path} exists and is no table of a batch; give another --out, or --force.")
        tables = [*(other for other in sorted(out.glob("batch*.csv")) if other != path), path]
        known = [row for table in tables for row in read_rows(table) if row.status in ("done", "incomplete", "failed")]
        return cls(path, tuple(datasets), {row.dataset + row.table: row for row in known})

    def write(self, rows: Sequence[BatchRow]) -> None:
        """Replace the table; rows that are not given stay as they were.

        Raises
        ------
        OutputError
            Full disk, read-only folder.
        """
        known = {row.dataset + row.table: self._with_seconds(row) for row in rows}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(self.path.parent, error) from error
        with written_aside(self.path, own_folder=True) as aside, aside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(BatchRow)])
            writer.writeheader()
            for item in self.datasets:
                waiting = BatchRow(item.dataset, "waiting", table=str(RunFolder(item.out).table))
                key = waiting.dataset + waiting.table
                writer.writerow((known.get(key) or self.earlier.get(key) or waiting).to_dict())

    def _with_seconds(self, row: BatchRow) -> BatchRow:
        """What is done keeps the time that it took."""
        before = self.earlier.get(row.dataset + row.table)
        same = before is not None and row.seconds is None and before.digest == row.digest
        return replace(row, seconds=before.seconds) if before is not None and same else row


def _is_batch_table(path: Path) -> bool:
    """Whether the header is that of our own table."""
    with path.open(encoding="utf-8", newline="", errors="replace") as file:
        return next(csv.reader(file), []) == [field.name for field in fields(BatchRow)]


def read_rows(path: Path) -> tuple[BatchRow, ...]:
    """The table of a batch; empty when there is none, or no such table."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return tuple(_read_row(cells) for cells in csv.DictReader(file))
    except (OSError, ValueError, TypeError, KeyError):
        return ()


def _read_row(cells: dict[str, str]) -> BatchRow:
    numbers: dict[str, Any] = {name: int(cells[name]) if cells[name] else None for name in ("rows", "blocks", "failed")}
    seconds = float(cells["seconds"]) if cells["seconds"] else None
    return BatchRow(**{**cells, **numbers, "seconds": seconds})
