"""One block of one run, as a worker does it: read, localize, write the shard, return the receipt.

A worker process has one localizer and runs two tasks at a time: one computes while the next one is read. Frames and
rows stay in the worker. torch is imported when the first task arrives.
"""

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from dask.system import CPU_COUNT
from distributed import get_worker
from distributed.threadpoolexecutor import ThreadPoolExecutor

from lls_decode.blocks import Block
from lls_decode.config import ResolvedRunConfig
from lls_decode.errors import BlockError, BundleError, ChunkError, LlsDecodeError
from lls_decode.frames import FrameSource, FrameStack, use_fast_codecs
from lls_decode.model.info import bundle_digest
from lls_decode.table import ShardReceipt, find_receipt, write_shard

if TYPE_CHECKING:
    from lls_decode.localize import Localizer


@dataclass(frozen=True)
class Task:
    """What a worker needs to know to do one block."""

    block: Block
    source: FrameSource
    bundle_path: str
    bundle_digest: str
    config: ResolvedRunConfig
    shards: str
    """Folder of the shards."""
    run_digest: str
    workers_per_host: int = 1
    """Workers that share the cores of one machine."""
    anew: bool = False
    """Compute the block also when its shard is there."""
    last_attempt: bool = False
    """Do without the frames that cannot be read; before, the block fails, as it may be different at another time."""


@dataclass(frozen=True)
class TaskReport:
    """What a worker says of a block: the receipt of its shard, and how long each step took."""

    receipt: ShardReceipt
    frames: int
    read_s: float
    start_s: float
    """Import of torch and loading of the model: about 0 but for the first block of a worker."""
    compute_s: float
    """Without the time spent waiting for the block before."""
    write_s: float
    worker: str
    pid: int
    found: bool = False
    """The shard was there already, and nothing was computed."""
    gpu_bytes: int | None = None
    """Most GPU memory that the network had during the block; None without a GPU."""
    reason: str = ""
    """Why frames of the block are lost."""


def localize_task(task: Task) -> TaskReport:
    """Do one block. Done late, twice or elsewhere it leaves the same shard.

    Raises
    ------
    BlockError
        Whatever went wrong, wrapped once, with the block's place in the dataset.
    """
    try:
        return _localize(task)
    except Exception as error:
        block = task.block
        failure = BlockError(
            f"Block {block.id} (volumes {block.volume_start} to {block.volume_stop - 1}, planes {block.plane_start} to "
            f"{block.plane_stop - 1}) failed on {_worker_name()}: {_words(error)}"
        )
        failure.cause = "MemoryError" if isinstance(error, MemoryError) else type(error).__name__  # NumPy has its own
        raise failure from error


def resolve_threads(config: ResolvedRunConfig, workers_per_host: int) -> int:
    """CPU threads of one worker: as configured, else the cores of its machine divided by its workers there."""
    return config.compute.threads or max(1, CPU_COUNT // max(1, workers_per_host))


def _localize(task: Task) -> TaskReport:
    block, shards = task.block, Path(task.shards)
    existing = None if task.anew else _existing_receipt(task)
    if existing is not None and is_final(existing, task.source):
        return _found(task, existing)
    use_fast_codecs()
    loading = _COMPUTE.submit(_load, task)  # while this thread reads
    started = time.perf_counter()
    stack = _read(task)
    read_s = time.perf_counter() - started
    start_s = loading.result()
    if existing is not None and (existing.lost, existing.filled) == (stack.lost, stack.filled):
        return _found(task, existing, reason=stack.reason)
    table, compute_s, gpu_bytes = _COMPUTE.submit(_compute, task, stack).result()
    lost, filled, reason = stack.lost, stack.filled, stack.reason
    del stack
    started = time.perf_counter()
    receipt = write_shard(table, block, shards, run_digest=task.run_digest, lost=lost, filled=filled)
    write_s = time.perf_counter() - started
    times = (read_s, start_s, compute_s, write_s)
    return TaskReport(receipt, block.num_owned, *times, _worker_name(), os.getpid(), gpu_bytes=gpu_bytes, reason=reason)


def localize_block(task: Task) -> pa.Table:
    """Return the rows of a block whose frames can all be read, and leave no shard."""
    loading = _COMPUTE.submit(_load, task)  # while this thread reads
    stack = task.source.read(task.block)
    loading.result()
    return _COMPUTE.submit(_compute, task, stack).result()[0]


def is_final(receipt: ShardReceipt, source: FrameSource) -> bool:
    """Whether a shard is as it is to be: nothing is lost, and nothing filled that is to be lost."""
    return not receipt.lost and not (receipt.filled and source.absent == "lost")


def _found(task: Task, receipt: ShardReceipt, *, reason: str = "") -> TaskReport:
    """What is said of a shard that is there already."""
    times = (0.0, 0.0, 0.0, 0.0)
    return TaskReport(receipt, task.block.num_owned, *times, _worker_name(), os.getpid(), found=True, reason=reason)


def _read(task: Task) -> FrameStack:
    """The frames of the block, without those of absent chunks; in the last attempt without any that is lost."""
    try:
        return task.source.read(task.block)
    except ChunkError as error:
        if not task.last_attempt and not error.is_absence:
            raise
        return task.source.read_partly(task.block)


_COMPUTE = ThreadPoolExecutor(1, thread_name_prefix="compute")
"""The one thread that computes, and that ``_built`` belongs to. OpenMP keeps threads of its own for each thread that
computes, and with more of them than cores all go to sleep at every barrier: that cost a fifth of a worker's time."""
_built: "tuple[tuple[str, ResolvedRunConfig], Localizer] | None" = None
"""The localizer of this process, and what it was built for. One: a second model would not leave room for either."""


def _load(task: Task) -> float:
    """Have the localizer ready; says how long that took."""
    started = time.perf_counter()
    _localizer(task)
    return time.perf_counter() - started


def _compute(task: Task, stack: FrameStack) -> tuple[pa.Table, float, int | None]:
    """Rows of the frames that a block owns, how long they took, and how much GPU memory (None without a GPU)."""
    import torch

    from lls_decode.localize.partly import localize_partly

    localizer = _localizer(task)
    device = localizer.device if localizer.device.type == "cuda" else None
    if device is not None:
        torch.cuda.reset_peak_memory_stats(device)
    started = time.perf_counter()
    table = localize_partly(localizer, stack) if stack.lost else localizer.run(stack)
    compute_s = time.perf_counter() - started
    return table, compute_s, torch.cuda.max_memory_allocated(device) if device is not None else None


def _localizer(task: Task) -> "Localizer":
    """The process's localizer, built when it is for another run or not there yet. For ``_COMPUTE`` alone."""
    global _built
    import torch

    from lls_decode.localize import build_localizer

    key = (task.run_digest, task.config)
    threads = resolve_threads(task.config, task.workers_per_host)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if _built is None or _built[0] != key:
        try:
            found = bundle_digest(task.bundle_path)
        except OSError as error:
            raise BundleError(
                f"Model bundle {task.bundle_path} cannot be read on this worker ({error.strerror}); put it where all "
                "machines see it."
            ) from error
        if found != task.bundle_digest:
            raise BundleError(
                f"Model bundle {task.bundle_path} has digest {found}, the run was planned with {task.bundle_digest}; "
                "restore the file, or start a new run."
            )
        _built = None
        compute = task.config.compute.replace(threads=threads)
        built = build_localizer(task.bundle_path, task.config.replace(compute=compute), task.source.layout)
        _built = (key, built)
    return _built[1]


def _existing_receipt(task: Task) -> ShardReceipt | None:
    """The receipt of a shard that an earlier copy of the task has left; None when there is none of this run."""
    path = Path(task.shards) / f"{task.block.id}.parquet"
    return find_receipt(path, task.block, run_digest=task.run_digest)


def _words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, LlsDecodeError) and text else f"{type(error).__name__}: {text}"


def _worker_name() -> str:
    try:
        return str(get_worker().address)
    except ValueError:
        return socket.gethostname()
