"""State and speed of a run, in words and numbers; `reader` reads them from the files in the output folder alone."""

import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["running", "done", "incomplete"]
VolumeState = Literal["done", "partial", "failed", "left"]

STRIP_WIDTH = 60
_MARKS: dict[VolumeState, str] = {"done": "#", "partial": "+", "failed": "!", "left": "."}
_MOST_WORKERS = 12
"""Workers that are listed in words; ``--json`` has all."""
_MOST_FAILED = 50


@dataclass(frozen=True)
class FailedBlock:
    """A block that was given up, and what is missing from the table because of it."""

    block_id: str
    frames: int
    volumes: tuple[int, int]
    """First and one-past-last volume."""
    planes: tuple[int, int]
    cause: str
    reason: str

    @property
    def place(self) -> str:
        """The lost frames, in words."""
        (v0, v1), (k0, k1) = self.volumes, self.planes
        volumes = f"volume {v0}" if v1 - v0 == 1 else f"volumes {v0} to {v1 - 1}"
        return f"{volumes}, plane {k0}" if k1 - k0 == 1 else f"{volumes}, planes {k0} to {k1 - 1}"


@dataclass(frozen=True)
class LostFrames(FailedBlock):
    """Frames of a block that is done which could not be read; ``volumes`` and ``planes`` are their bounds."""

    named: str
    """The lost frames, in words."""

    @property
    def place(self) -> str:
        """The lost frames, in words."""
        return self.named


@dataclass(frozen=True)
class VolumeRange:
    """Volumes in a row that are in the same state."""

    start: int
    stop: int
    """One past the last."""
    state: VolumeState
    """``failed``: some of its frames are lost; ``partial``: some are done, none is lost."""


@dataclass(frozen=True)
class WorkerStatus:
    """What one worker process has done since the latest start."""

    worker: str
    pid: int
    blocks: int
    frames: int
    rows: int
    frames_per_s: float
    """Over the time since its first block began."""
    idle: float
    """Share of that time in which its network neither computed nor was loaded, 0 to 1."""
    start_s: float
    """Import of torch and loading of the model."""
    read_s: float
    compute_s: float
    write_s: float
    last_at: float
    """When its latest block was done, seconds since 1970."""
    gpu_bytes: int | None
    """Most GPU memory that its network has had; None without a GPU."""


@dataclass(frozen=True)
class RunStatus:
    """How a run stands."""

    out: str
    dataset: str
    model: str
    run_digest: str
    dtype: str
    """Arithmetic of the network."""
    devices: tuple[str, ...]
    """What the workers of the latest start compute on: GPUs with driver and memory, or processors."""
    state: State
    """``incomplete``: nobody works at it, and blocks are missing or the table is; the same command goes on."""
    owner: str | None
    """Host and process that works at it."""
    merging: bool
    """All blocks are settled, and the table is being written."""
    started_at: float
    """Latest start, seconds since 1970, as are the next two."""
    ended_at: float | None
    """End of the latest start."""
    last_at: float | None
    """When the latest block was done."""
    blocks: int
    blocks_done: int
    blocks_failed: int
    blocks_left: int
    """Neither done nor failed."""
    frames: int
    frames_done: int
    frames_failed: int
    """Frames of failed blocks, and lost ones of blocks that are done."""
    frames_filled: int
    """Frames that were given the fill value, as their chunks are absent; they count as done."""
    rows: int
    """Localizations in the shards that the ledger knows."""
    shard_bytes: int
    frames_per_s: float | None
    """Over the last minutes while somebody works at the run, else since its latest start; None before a block."""
    rows_per_s: float | None
    frames_per_s_overall: float | None
    """Since the latest start."""
    left_s: float | None
    """Time to go at the rate of the last minutes."""
    read_s: float
    """Summed over blocks, as are the next two."""
    compute_s: float
    write_s: float
    retries: int
    workers_now: int | None
    """Workers at the moment; None when nobody works at the run."""
    workers: tuple[WorkerStatus, ...]
    """Those that have done blocks since the latest start."""
    volumes: tuple[VolumeRange, ...]
    """All volumes of the plan, in order."""
    table: str | None
    """The merged table, when it is there."""
    failed: tuple[FailedBlock, ...]
    lost: tuple[LostFrames, ...]
    """Of each block that is done without some of its frames."""
    broken_lines: int
    """Lines of the ledger that a killed process left unfinished."""
    table_damage: str | None = None
    """Why the merged table is not what was merged; None when it is, as far as its footer, size and date tell."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return asdict(self)

    @property
    def losses(self) -> tuple[FailedBlock, ...]:
        """Everything that is missing from the table."""
        return (*self.failed, *self.lost)

    @property
    def idle(self) -> float | None:
        """Share of the workers' time in which their networks did not compute; None before the first block."""
        total = sum(item.frames for item in self.workers)
        return sum(item.idle * item.frames for item in self.workers) / total if total else None

    def describe(self) -> list[str]:
        """Lines for a person."""
        lines = [
            f"run        {self.run_digest} in {self.out}: {self.state}"
            + (f", {self.owner} works at it" if self.owner else ""),
            f"dataset    {self.dataset}",
            f"model      {self.model}",
            f"arithmetic {self.dtype}" + (f" on {', '.join(self.devices)}" if self.devices else ""),
            f"volumes    {self._strip()}",
            f"blocks     {self.blocks_done}/{self.blocks} done, {self.blocks_failed} failed, {self.blocks_left} left"
            + (f", {self.retries} retries" if self.retries else ""),
            f"frames     {self.frames_done}/{self.frames} done, {self.frames_failed} lost"
            + (f", {self.frames_filled} of absent chunks taken as their fill value" if self.frames_filled else ""),
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
            lines.append(f"lost       {len(self.losses) - _MOST_FAILED} more blocks ('--json' names all)")
        merging = "being merged" if self.merging and self.owner else "not merged yet"
        lines.append(f"table      {self.table or merging}")
        if self.table_damage:
            lines.append(f"damaged    the table: {self.table_damage}; 'lls-decode run' or 'merge' writes it again")
        if self.broken_lines:
            lines.append(f"ledger     {self.broken_lines} lines are unfinished (a program was killed while writing)")
        return lines

    def _strip(self) -> str:
        """All volumes in one line; a mark stands for several, and failures win."""
        begin, end = (self.volumes[0].start, self.volumes[-1].stop) if self.volumes else (0, 0)
        total = end - begin
        width = min(total, STRIP_WIDTH)
        found: list[set[VolumeState]] = [set() for _ in range(width)]
        for item in self.volumes:
            first, last = (item.start - begin) * width // total, (item.stop - 1 - begin) * width // total
            for column in range(first, last + 1):
                found[column].add(item.state)
        marks = "".join(_mark(states) for states in found)
        return f"{begin} [{marks}] {max(end - 1, begin)}   # done  + in part  ! frames lost  . left"

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
            lines.append(f"  and {len(slowest) - _MOST_WORKERS} faster ones ('--json' names all)")
        return lines


def duration(seconds: float) -> str:
    """A length of time as people say it."""
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
