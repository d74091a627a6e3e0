"""Counts since the latest start of a run: its speed, its workers, and whether it is merging or has ended."""

from dataclasses import dataclass, field

from lls_decode.pipelines.journal.events import (
    BlockDone,
    Event,
    Merged,
    MergeStarted,
    RunFinished,
    ShardDamaged,
    WorkersChanged,
    WorkersExamined,
)

from .run_status import WorkerStatus
from .speed import Speed, SpeedHistory


@dataclass
class LatestStart:
    """Counts since the latest start of a run."""

    at: float
    ended_at: float | None = None
    merging: bool = False
    workers_now: int = 0
    devices: tuple[str, ...] = ()
    """Devices of the workers that were present at the start."""
    network: str = ""
    """Whether the network is compiled, and why."""
    workers: "dict[tuple[str, int], _WorkerTotals]" = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.speed, self.history = Speed(self.at), SpeedHistory(self.at)

    def count_block(self, event: BlockDone) -> None:
        """Count a finished block."""
        if event.at < self.at or event.found:
            return
        self.speed.add(event.at, event.frames, event.rows)
        self.history.add(event.at, event.frames, event.rows)
        key = (event.worker, event.pid)
        worker = self.workers.get(key)
        if worker is None:
            worker = self.workers[key] = _WorkerTotals(*key)
        worker.count(event)

    def count_event(self, event: Event) -> None:
        """Update the counts from an event that is not in the ledger."""
        if event.at < self.at:
            return
        match event:
            case WorkersChanged():
                self.workers_now = event.workers
            case WorkersExamined():
                pairs = zip(event.workers, event.devices, strict=True)
                self.devices = tuple(f"{count} x {name}" if count > 1 else name for count, name in pairs)
                self.network = event.network
            case MergeStarted():
                self.merging = True
            case Merged() | ShardDamaged():
                self.merging = False
            case RunFinished():
                self.merging, self.ended_at = False, event.at


@dataclass
class _WorkerTotals:
    """Totals over the blocks of one worker process."""

    worker: str
    pid: int
    blocks: int = 0
    frames: int = 0
    rows: int = 0
    start_s: float = 0.0
    read_s: float = 0.0
    compute_s: float = 0.0
    write_s: float = 0.0
    began: float = 0.0
    last_at: float = 0.0
    gpu_bytes: int | None = None

    def count(self, event: BlockDone) -> None:
        if not self.blocks:  # frames are read while the model is loaded
            self.began = event.at - max(event.read_s, event.start_s) - event.compute_s - event.write_s
        self.blocks += 1
        self.frames += event.frames
        self.rows += event.rows
        self.start_s += event.start_s
        self.read_s += event.read_s
        self.compute_s += event.compute_s
        self.write_s += event.write_s
        self.last_at = max(self.last_at, event.at)
        if event.gpu_bytes is not None:
            self.gpu_bytes = max(self.gpu_bytes or 0, event.gpu_bytes)

    def status(self) -> WorkerStatus:
        seconds = max(self.last_at - self.began, 1e-3)
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "began"}
        return WorkerStatus(
            **values,
            frames_per_s=self.frames / seconds,
            idle=min(max(1 - (self.start_s + self.compute_s) / seconds, 0.0), 1.0),
        )
