"""Types of the events of a run; progress bars, logs and files are listeners to them.

A listener is a callable that takes one event. The run loop calls listeners in its own thread, in order. `json_lines`
writes events to a file and reads them back as these types. A field that is added later needs a default: events in older
files are read with it.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from lls_decode.blocks import FrameRanges


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events."""

    at: float = field(default_factory=time.time)
    """Seconds since 1970."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; ``event`` names the kind. Fields that are None or empty are left out."""
        values = {name: value for name, value in asdict(self).items() if value is not None and value != ()}
        return {"event": type(self).__name__, **values}


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """The plan has been compared with the run folder; the missing blocks are submitted next."""

    run_digest: str
    blocks: int
    """Number of blocks of the plan."""
    blocks_found: int
    """Number of blocks whose shard already existed."""
    frames: int
    frames_found: int
    rows_found: int


@dataclass(frozen=True, kw_only=True)
class DatasetGrown(Event):
    """The acquisition that the run follows has grown, so that more blocks can be processed."""

    volumes: int
    """Number of volumes that are complete so far."""
    blocks: int
    """Number of blocks that can be processed so far."""
    frames: int
    """Number of frames in the new blocks."""


@dataclass(frozen=True, kw_only=True)
class WorkersChanged(Event):
    """The number of workers has changed."""

    workers: int


@dataclass(frozen=True, kw_only=True)
class WorkersExamined(Event):
    """The workers that were present at the start have reported their hardware."""

    dtype: str
    """Arithmetic of the run."""
    devices: tuple[str, ...] = ()
    """Kinds of devices: a GPU's name, driver and memory, or a processor's name."""
    workers: tuple[int, ...] = ()
    """Number of workers for each kind of device."""
    network: str = ""
    """Whether the network is compiled, and why."""


@dataclass(frozen=True, kw_only=True)
class BlockDone(Event):
    """The shard of a block is committed. Also sent for shards of an earlier start that no ledger lists."""

    block: int
    block_id: str
    frames: int
    rows: int
    bytes: int
    """Size of the shard."""
    attempts: int
    """Number of times that this program started the block; 0: the shard already existed."""
    read_s: float
    start_s: float
    """Time to import torch and load the model, for the first block of a worker."""
    compute_s: float
    write_s: float
    worker: str
    pid: int
    gpu_bytes: int | None = None
    """Peak GPU memory of the network during the block; None without a GPU."""
    lost: FrameRanges = ()
    """Ranges of frames that could not be read, including context frames; ends are excluded."""
    frames_lost: int = 0
    """Number of lost frames that the block owns; ``frames`` includes them."""
    filled: FrameRanges = ()
    """Ranges of frames whose chunks are absent and that were read as the fill value."""
    reason: str = ""
    """Why frames were lost; empty if none was lost, or if the shard already existed."""

    @property
    def found(self) -> bool:
        """Whether the shard already existed."""
        return self.attempts == 0


@dataclass(frozen=True, kw_only=True)
class BlockRetried(Event):
    """A block failed and is retried."""

    block: int
    block_id: str
    attempts: int
    reason: str
    alone: bool
    """Whether the block is retried without other blocks in flight, because its worker died or ran out of memory."""


@dataclass(frozen=True, kw_only=True)
class BlockFailed(Event):
    """A block failed for good; its frames are missing from the table."""

    block: int
    block_id: str
    frames: int
    volumes: tuple[int, int]
    """Range of volumes, end excluded."""
    planes: tuple[int, int]
    """Range of planes, end excluded."""
    attempts: int
    cause: str
    """Name of the exception class."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class ShardDamaged(Event):
    """The shard of a finished block was damaged after it had been written; the block is processed again."""

    block: int
    block_id: str
    frames: int
    rows: int
    """Number of rows that the shard had."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class RunInterrupted(Event):
    """A signal asked the run to stop."""

    signal: str


@dataclass(frozen=True, kw_only=True)
class MergeStarted(Event):
    """The run starts to merge the shards into one table."""

    blocks: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class Merged(Event):
    """The merged table is committed."""

    path: str
    rows: int
    missing_blocks: int
    merge_s: float
    bytes: int = 0
    """Size of the table."""
    crc32: int = -1
    """Checksum of the whole file; -1: an earlier version did not compute one."""


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    """The run has ended: finished, failed or interrupted."""

    exit_status: int
    blocks_done: int
    blocks_failed: int
    blocks_left: int
    """Number of blocks that are neither done nor failed, because the run was interrupted."""
    rows: int
    run_s: float


SettledBlock = BlockDone | BlockFailed
"""Event of the ledger: a block is done, or has failed for good."""

Listener = Callable[[Event], None]
"""Function that is called with each event."""
