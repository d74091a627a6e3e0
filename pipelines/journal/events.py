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
    """The plan is compared with the output folder and the missing blocks are about to be submitted."""

    run_digest: str
    blocks: int
    """Blocks of the plan."""
    blocks_found: int
    """Blocks whose shard was there already."""
    frames: int
    frames_found: int
    rows_found: int


@dataclass(frozen=True, kw_only=True)
class DatasetGrown(Event):
    """The acquisition that the run follows has come further, and more blocks can be done."""

    volumes: int
    """Complete by now."""
    blocks: int
    """That can be done, all so far."""
    frames: int
    """Frames of the blocks that are new."""


@dataclass(frozen=True, kw_only=True)
class WorkersChanged(Event):
    """Workers came or went."""

    workers: int


@dataclass(frozen=True, kw_only=True)
class WorkersExamined(Event):
    """The workers that were there at the start have said what they compute on."""

    dtype: str
    """Arithmetic of the run."""
    devices: tuple[str, ...] = ()
    """Kinds of devices: a GPU's name, driver and memory, or a processor's name."""
    workers: tuple[int, ...] = ()
    """Number of workers with a device of each kind."""


@dataclass(frozen=True, kw_only=True)
class BlockDone(Event):
    """The shard of a block is committed; also sent for shards of an earlier start that are in no ledger."""

    block: int
    block_id: str
    frames: int
    rows: int
    bytes: int
    """Size of the shard."""
    attempts: int
    """Times that the block was started by this program; 0: the shard was found."""
    read_s: float
    start_s: float
    """Import of torch and loading of the model, for the first block of a worker."""
    compute_s: float
    write_s: float
    worker: str
    pid: int
    gpu_bytes: int | None = None
    """Most GPU memory that the network had during the block; None without a GPU."""
    lost: FrameRanges = ()
    """Frames that could not be read, context included, first and one-past-last."""
    frames_lost: int = 0
    """Number of lost frames that the block owns; they count in ``frames``."""
    filled: FrameRanges = ()
    """Frames that were given the fill value, as their chunks are absent."""
    reason: str = ""
    """Why frames are lost; empty if none is, or for a shard that was found."""

    @property
    def found(self) -> bool:
        """The shard was there already."""
        return self.attempts == 0


@dataclass(frozen=True, kw_only=True)
class BlockRetried(Event):
    """A block failed and is tried again."""

    block: int
    block_id: str
    attempts: int
    reason: str
    alone: bool
    """Its worker died or had no memory left: it is tried again with nothing else in flight."""


@dataclass(frozen=True, kw_only=True)
class BlockFailed(Event):
    """A block failed for good; its frames are missing from the table."""

    block: int
    block_id: str
    frames: int
    volumes: tuple[int, int]
    """First and one-past-last volume."""
    planes: tuple[int, int]
    attempts: int
    cause: str
    """Name of the kind of error."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class ShardDamaged(Event):
    """The shard of a finished block was damaged after it had been written; the block is done again."""

    block: int
    block_id: str
    frames: int
    rows: int
    """That the shard had."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class RunInterrupted(Event):
    """A signal asked the run to stop."""

    signal: str


@dataclass(frozen=True, kw_only=True)
class MergeStarted(Event):
    """Shards are being joined into one table."""

    blocks: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class Merged(Event):
    """The table is committed."""

    path: str
    rows: int
    missing_blocks: int
    merge_s: float
    bytes: int = 0
    """Size of the table."""
    crc32: int = -1
    """Checksum of the whole file; -1: not taken, by an earlier version."""


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    """The run has ended, in whatever way."""

    exit_status: int
    blocks_done: int
    blocks_failed: int
    blocks_left: int
    """Neither done nor failed: the run was interrupted."""
    rows: int
    run_s: float


SettledBlock = BlockDone | BlockFailed
"""An event of the ledger: a block is finished, one way or the other."""

Listener = Callable[[Event], None]
