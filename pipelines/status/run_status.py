"""Status of a run as numbers and as text; `reader` creates it from the files in the run folder."""

import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["running", "done", "incomplete"]
VolumeState = Literal["done", "partial", "failed", "left"]

STRIP_WIDTH = 60
_MARKS: dict[VolumeState, str] = {"done": "#", "partial": "+", "failed": "!", "left": "."}
_MOST_WORKERS = 12
"""Largest number of workers that are listed as text; ``--json`` has all."""
_MOST_FAILED = 50
"""Largest number of failed blocks that are listed as text."""


@dataclass(frozen=True)
class FailedBlock:
    """A block that has failed for good, and its frames, which are missing from the table."""

    block_id: str
    frames: int
    """Number of lost frames."""
    volumes: tuple[int, int]
    """Range of volumes, end excluded."""
    planes: tuple[int, int]
    """Range of planes, end excluded."""
    cause: str
    """Name of the exception class."""
    reason: str

    @property
    def place(self) -> str:
        """Volumes and planes of the lost frames, as text."""
        (v0, v1), (k0, k1) = self.volumes, self.planes
        volumes = f"volume {v0}" if v1 - v0 == 1 else f"volumes {v0} to {v1 - 1}"
        return f"{volumes}, plane {k0}" if k1 - k0 == 1 else f"{volumes}, planes {k0} to {k1 - 1}"


@dataclass(frozen=True)
class LostFrames(FailedBlock):
    """Frames of a finished block that could not be read; ``volumes`` and ``planes`` are their bounds."""

    named: str
    """Volumes and planes of the lost frames, as text."""

    @property
    def place(self) -> str:
        """Volumes and planes of the lost frames, as text."""
        return self.named


@dataclass(frozen=True)
class VolumeRange:
    """Consecutive volumes in the same state."""

    start: int
    stop: int
    """One past the last volume."""
    state: VolumeState
    """``failed``: frames of the volume are lost; ``partial``: only some of its frames are done, and none is lost."""


@dataclass(frozen=True)
class WorkerStatus:
    """Work of one worker process since the latest start."""

    worker: str
    pid: int
    blocks: int
    frames: int
    rows: int
    frames_per_s: float
    """Mean speed since its first block began."""
    idle: float
    """Fraction of this time in which its network neither computed nor was loaded, 0 to 1."""
    start_s: float
    """Time to import torch and load the model."""
    read_s: float
    compute_s: float
    write_s: float
    last_at: float
    """Time when its latest block was finished, seconds since 1970."""
    gpu_bytes: int | None
    """Peak GPU memory of its network; None without a GPU."""


@dataclass(frozen=True)
class RunStatus:
    """Status of a run."""

    out: str
    dataset: str
    model: str
    run_digest: str
    dtype: str
    """Arithmetic of the network."""
    devices: tuple[str, ...]
    """Devices of the workers of the latest start: GPUs with driver and memory, or processors."""
    network: str
    """Whether the latest start compiles the network, and why; empty if this has not been decided."""
    state: State
    """``incomplete``: no program is running it, and blocks or the table are missing; rerun the command to resume."""
    owner: str | None
    """Host and process of the program that is running it; None if there is none."""
    merging: bool
    """Whether all blocks are done or failed and the table is being written."""
    started_at: float
    """Time of the latest start, seconds since 1970."""
    ended_at: float | None
    """Time when the latest start ended, seconds since 1970; None if it has not."""
    last_at: float | None
    """Time when the latest block was finished, seconds since 1970; None before the first block."""
    blocks: int
    blocks_done: int
    blocks_failed: int
    blocks_left: int
    """Number of blocks that are neither done nor failed."""
    frames: int
    frames_done: int
    frames_failed: int
    """Number of lost frames: all frames of failed blocks, and unreadable frames of finished blocks."""
    frames_filled: int
    """Number of frames that were read as the fill value because their chunks are absent; they count as done."""
    rows: int
    """Number of localizations in the shards that the ledger lists."""
    shard_bytes: int
    frames_per_s: float | None
    """Speed over the last minutes while the run is active, else since its latest start; None before a block."""
    rows_per_s: float | None
    """Localizations per second over the same time."""
    frames_per_s_overall: float | None
    """Mean speed since the latest start."""
    left_s: float | None
    """Estimated remaining time at the speed of the last minutes."""
    read_s: float
    """Total time for reading, over all blocks."""
    compute_s: float
    """Total time for computing, over all blocks."""
    write_s: float
    """Total time for writing, over all blocks."""
    retries: int
    workers_now: int | None
    """Present number of workers; None if no program is running it."""
    workers: tuple[WorkerStatus, ...]
    """Workers that have finished blocks since the latest start."""
    volumes: tuple[VolumeRange, ...]
    """All volumes of the plan, in order."""
    table: str | None
    """Path of the merged table; None if it does not exist."""
    failed: tuple[FailedBlock, ...]
    """Blocks that failed."""
    lost: tuple[LostFrames, ...]
    """Lost frames of finished blocks, one entry per block."""
    broken_lines: int
    """Number of lines of the ledger that a killed process left unfinished."""
    table_damage: str | None = None
    """How the merged table is damaged, as far as its footer, size and modification time show, or that it is gone; None
    if it is undamaged or was not merged."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for ``--json``."""
        return asdict(self)

    @property
    def losses(self) -> tuple[FailedBlock, ...]:
        """Failed blocks and lost frames: everything that is missing from the table."""
        return (*self.failed, *self.lost)

    @property
    def idle(self) -> float | None:
        """Fraction of the workers' time in which their networks did not compute; None before the first block."""
        total = sum(item.frames for item in self.workers)
        return sum(item.idle * item.frames for item in self.workers) / total if total else None

    def describe(self) -> list[str]:
        """Return the status as lines of text."""
        lines = [
            f"run        {self.run_digest} in {self.out}: {self.state}"
            + (f", in use by {self.owner}" if self.owner else ""),
            f"dataset    {self.dataset}",
            f"model      {self.model}",
            f"arithmetic {self.dtype}" + (f" on {', '.join(self.devices)}" if self.devices else ""),
            *([f"network    {self.network}"] if self.network else []),
            f"volumes    {self._strip()}",
            f"blocks     {self.blocks_done}/{self.blocks} done, {self.blocks_failed} failed, {self.blocks_left} left"
            + (f", {self.retries} retries" if self.retries else ""),
            f"frames     {self.frames_done}/{self.frames} done, {self.frames_failed} lost"
            + (f", {self.frames_filled} of absent chunks read as the fill value" if self.frames_filled else ""),
            f"rows       {self.rows} in {self.shard_bytes / 1e6:.1f} MB of shards",
        ]
        if self.frames_per_s is not None and self.rows_per_s is not None:
            left = f", {duration(self.left_s)} to go" if self.left_s else ""
            lines.append(f"rate       {self.frames_per_s:.1f} frames/s, {self.rows_per_s:.0f} localizations/s{left}")
        lines += self._describe_workers()
        lines += [
            f"lost       {item.block_id}, {item.frames} frames ({item.place}): {item.reason}"
            for item in self.losses[:_MOST_FAILED]
        ]
        if len(self.losses) > _MOST_FAILED:
            lines.append(f"lost       {len(self.losses) - _MOST_FAILED} more blocks ('--json' lists all)")
        merging = "being merged" if self.merging and self.owner else "not merged yet"
        lines.append(f"table      {self.table or ('none' if self.table_damage else merging)}")
        if self.table_damage:
            lines.append(f"damaged    the table: {self.table_damage}; rewrite it with 'lls-decode run' or 'merge'")
        if self.broken_lines:
            lines.append(f"ledger     {self.broken_lines} lines are unfinished (a program was killed while writing)")
        return lines

    def _strip(self) -> str:
        """Return all volumes as one line of marks.

        A mark may stand for several volumes; it shows a failure if any of them has one.
        """
        begin, end = (self.volumes[0].start, self.volumes[-1].stop) if self.volumes else (0, 0)
        total = end - begin
        width = min(total, STRIP_WIDTH)
        found: list[set[VolumeState]] = [set() for _ in range(width)]
        for item in self.volumes:
            first, last = (item.start - begin) * width // total, (item.stop - 1 - begin) * width // total
            for column in range(first, last + 1):
                found[column].add(item.state)
        marks = "".join(_mark(states) for states in found)
        return f"{begin} [{marks}] {max(end - 1, begin)}   # done  + partly done  ! frames lost  . left"

    def _describe_workers(self) -> list[str]:
        if not self.workers:
            return []
        now = f"{self.workers_now} now, " if self.workers_now is not None else ""
        lines = [
            f"workers    {now}{len(self.workers)} have done blocks, idle {100 * (self.idle or 0):.0f} % of their time"
        ]
        slowest = sorted(self.workers, key=lambda item: item.frames_per_s)
        for item in slowest[:_MOST_WORKERS]:
            memory = f", {item.gpu_bytes / 1e9:.1f} GB of GPU memory" if item.gpu_bytes is not None else ""
            lines.append(
                f"  {item.worker} (process {item.pid}): {item.blocks} blocks, {item.frames_per_s:.1f} frames/s, idle "
                f"{100 * item.idle:.0f} %{memory}, last block {duration(max(time.time() - item.last_at, 0))} ago"
            )
        if len(slowest) > _MOST_WORKERS:
            lines.append(f"  and {len(slowest) - _MOST_WORKERS} faster workers ('--json' lists all)")
        return lines


def duration(seconds: float) -> str:
    """Return a duration as text, in the two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _mark(states: set[VolumeState]) -> str:
    if "failed" in states:
        return _MARKS["failed"]
    return _MARKS[states.pop()] if len(states) == 1 else _MARKS["partial"]
