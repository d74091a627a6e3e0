"""Localize many datasets with one command: plan them all, run them one after the other, and report them in one table.

A dataset that cannot be run becomes a row of the table that says why; the batch continues with the others. The table is
rewritten after each dataset. The run folders record which blocks are done, so rerunning the same command resumes a
batch that was stopped.

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
"""State of a dataset. Before its run: ``new`` or ``unfinished``. After its run: ``done``, or ``incomplete`` if blocks
failed or the run was interrupted. ``failed``: the dataset could not be run. ``waiting``: not planned yet, or beyond the
limit of this start."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchRow:
    """State of one dataset: one line of the table."""

    dataset: str
    status: Status
    reason: str = ""
    """Why the dataset is not done, or a remark about it."""
    rows: int | None = None
    """Number of localizations in its table."""
    blocks: int | None = None
    """Number of blocks of its plan."""
    failed: int | None = None
    """Number of blocks whose frames are missing from the table."""
    seconds: float | None = None
    """Duration of its latest run."""
    digest: str = ""
    """Digest of its run: the same for the same data, model and configuration."""
    table: str = ""
    """Path of its localization table."""

    @property
    def to_do(self) -> bool:
        """Whether the dataset still has to be run."""
        return self.status in ("new", "unfinished")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class BatchResult:
    """Result of a batch."""

    rows: tuple[BatchRow, ...]
    """One row for each requested dataset, in order."""
    exit_status: int

    @classmethod
    def of(cls, rows: Sequence[BatchRow]) -> "BatchResult":
        """Return the result of a batch that was not interrupted."""
        failed = any(row.status in ("failed", "incomplete") for row in rows)
        return cls(tuple(rows), EXIT_BLOCKS_FAILED if failed else EXIT_DONE)


def plan_batch(
    datasets: Sequence[BatchEntry],
    *,
    force: bool = False,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[BatchRow, ...]:
    """Plan each dataset and return its state before any run. Writes nothing.

    Parameters
    ----------
    force
        Discard other runs in the run folders, and accept frames that the camera cannot have recorded.
    limit
        Largest number of datasets to run; the others get the status ``waiting``.
    progress
        Called after each dataset with the number of planned datasets and the total number.
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
    """Run each dataset whose row, returned by `plan_batch`, is ``new`` or ``unfinished``.

    In the main thread, Ctrl-C ends the batch with exit status 130, and SIGTERM and SIGUSR1 end it with 143.

    Parameters
    ----------
    write
        Called with all rows after each dataset.
    force
        Discard other runs in the run folders, and accept frames that the camera cannot have recorded.
    listen
        Context manager that is entered for each dataset; the listener that it gives receives the events of the run.

    Raises
    ------
    SiteError
        The scheduler or all workers are lost, so the next dataset would fail as well.
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
    """Run a dataset and return its row and the exit status of its run."""
    from lls_decode.pipelines.watch.serving import (
        attach,
    )  # imports Bokeh, which planning a batch does not need

    began = time.monotonic()
    try:
        # planned again, because keeping the plans of a whole archive would fill the memory
        plan = make_plan(item.dataset, item.model, item.out, item.config, force=force)
        plan.log_notes()
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
    """Return the row of a dataset that cannot be run; the error may come from this package or from any library."""
    words = " ".join(str(error).split())
    if not isinstance(error, LlsDecodeError):
        logger.debug("%s", item.dataset, exc_info=error)
        words = f"{type(error).__name__}: {words}"
    elif isinstance(error, RunConflictError):
        words = words.replace("--out", "'out'")
    return BatchRow(item.dataset, "failed", reason=words, table=str(RunFolder(item.out).table))


def _rows_when_done(plan: Plan) -> int | None:
    """Return the number of rows of the merged table; None unless it belongs to this plan and is complete."""
    table = RunFolder(plan.out).table
    try:
        metadata = read_metadata(table)
    except TableError:
        return None
    same = metadata.run_digest == plan.run_digest and metadata.input.get("identity") == plan.source.identity
    whole = same and not metadata.missing_blocks and not metadata.lost_frames
    return pq.read_metadata(table).num_rows if whole else None


def _has_lost_frames(plan: Plan) -> bool:
    """Whether a merged table exists and lacks frames that could not be read."""
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
    """Table of a batch: a ``.csv`` file of all datasets, including those that this start does not process."""

    path: Path
    datasets: tuple[BatchEntry, ...]
    """All datasets of the batch, in order."""
    earlier: Mapping[str, BatchRow]
    """Rows that existing tables in the folder give for datasets that were run, keyed by dataset plus table path."""

    @classmethod
    def of(cls, out: Path, datasets: Sequence[BatchEntry], share: Share | None = None) -> "BatchTable":
        """Return the table in the folder of a batch. Each job that processes a share has its own table."""
        path = out / (f"batch.{share.name}.csv" if share else "batch.csv")
        check_not_read(path)
        if path.exists() and not is_forced() and not _is_batch_table(path):
            raise OutputError(f"{path} exists and is not the table of a batch; give another --out, or --force.")
        tables = [*(other for other in sorted(out.glob("batch*.csv")) if other != path), path]
        known = [row for table in tables for row in read_rows(table) if row.status in ("done", "incomplete", "failed")]
        return cls(path, tuple(datasets), {row.dataset + row.table: row for row in known})

    def write(self, rows: Sequence[BatchRow]) -> None:
        """Rewrite the table with the given rows; the other datasets keep their earlier rows.

        Raises
        ------
        OutputError
            The table cannot be written, for example because the disk is full or the folder read-only.
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
        """Return a row with the duration of the earlier run of the same digest, if the row has none itself."""
        before = self.earlier.get(row.dataset + row.table)
        same = before is not None and row.seconds is None and before.digest == row.digest
        return replace(row, seconds=before.seconds) if before is not None and same else row


def _is_batch_table(path: Path) -> bool:
    """Whether a file has the header of a batch table."""
    with path.open(encoding="utf-8", newline="", errors="replace") as file:
        return next(csv.reader(file), []) == [field.name for field in fields(BatchRow)]


def read_rows(path: Path) -> tuple[BatchRow, ...]:
    """Return the rows of a batch table; empty if the file is absent or is not a batch table."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return tuple(_read_row(cells) for cells in csv.DictReader(file))
    except (OSError, ValueError, TypeError, KeyError):
        return ()


def _read_row(cells: dict[str, str]) -> BatchRow:
    numbers: dict[str, Any] = {name: int(cells[name]) if cells[name] else None for name in ("rows", "blocks", "failed")}
    seconds = float(cells["seconds"]) if cells["seconds"] else None
    return BatchRow(**{**cells, **numbers, "seconds": seconds})
