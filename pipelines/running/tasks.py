"""Process one block in a worker: read the frames, localize, write the shard, and return its receipt.

A worker process has one localizer and runs two tasks at a time: one computes while the next one reads. Frames and rows
never leave the worker. torch is imported when the first task arrives.
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
    """Everything that a worker needs to process one block."""

    block: Block
    source: FrameSource
    bundle_path: str
    bundle_digest: str
    config: ResolvedRunConfig
    shards: str
    """Folder of the shards."""
    run_digest: str
    workers_per_host: int = 1
    """Number of workers that share the cores of one machine."""
    compiles: bool | None = None
    """Whether a ``compute.compile`` of ``auto`` compiles the network; None: each worker decides."""
    anew: bool = False
    """Whether the block is computed even if its shard exists."""
    last_attempt: bool = False
    """Whether frames that cannot be read are skipped. In earlier attempts they make the block fail, so that reading is
    retried."""


@dataclass(frozen=True)
class TaskReport:
    """Report of a worker on a block: the receipt of its shard, and the duration of each step."""

    receipt: ShardReceipt
    frames: int
    read_s: float
    start_s: float
    """Time to import torch and load the model; about 0 except for the first block of a worker."""
    compute_s: float
    """Time to compute, without waiting for the previous block."""
    write_s: float
    worker: str
    pid: int
    found: bool = False
    """Whether the shard already existed, so that nothing was computed."""
    gpu_bytes: int | None = None
    """Peak GPU memory of the network during the block; None without a GPU."""
    reason: str = ""
    """Why frames of the block were lost; empty if none was."""


def localize_task(task: Task) -> TaskReport:
    """Process one block. Late, repeated or on another machine, a task writes the same shard.

    Raises
    ------
    BlockError
        Any error, with the position of the block in the dataset; ``cause`` names the class of the original error.
    """
    try:
        return _localize(task)
    except Exception as error:
        block = task.block
        failure = BlockError(
            f"Block {block.id} (volumes {block.volume_start} to {block.volume_stop - 1}, planes {block.plane_start} to "
            f"{block.plane_stop - 1}) failed on {_worker_name()}: {_words(error)}"
        )
        failure.cause = "MemoryError" if isinstance(error, MemoryError) else type(error).__name__  # NumPy subclasses it
        raise failure from error


def resolve_threads(config: ResolvedRunConfig, workers_per_host: int) -> int:
    """Return the number of CPU threads of one worker.

    It is the configured number, else the cores of the machine divided by the workers on it.
    """
    return config.compute.threads or max(1, CPU_COUNT // max(1, workers_per_host))


def _localize(task: Task) -> TaskReport:
    block, shards = task.block, Path(task.shards)
    existing = None if task.anew else _existing_receipt(task)
    if existing is not None and is_final(existing, task.source):
        return _found(task, existing)
    use_fast_codecs()
    loading = _COMPUTE.submit(_load, task)  # loads the model while this thread reads
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
    """Return the rows of a block without writing a shard. All frames must be readable."""
    loading = _COMPUTE.submit(_load, task)  # loads the model while this thread reads
    stack = task.source.read(task.block)
    loading.result()
    return _COMPUTE.submit(_compute, task, stack).result()[0]


def is_final(receipt: ShardReceipt, source: FrameSource) -> bool:
    """Whether a shard needs no retry: no frames were lost, nor filled although absent frames should count as lost."""
    return not receipt.lost and not (receipt.filled and source.absent == "lost")


def _found(task: Task, receipt: ShardReceipt, *, reason: str = "") -> TaskReport:
    """Return the report on a shard that already exists."""
    times = (0.0, 0.0, 0.0, 0.0)
    return TaskReport(receipt, task.block.num_owned, *times, _worker_name(), os.getpid(), found=True, reason=reason)


def _read(task: Task) -> FrameStack:
    """Read the frames of the block, and skip those of absent chunks; the last attempt skips all unreadable frames."""
    try:
        return task.source.read(task.block)
    except ChunkError as error:
        if not task.last_attempt and not error.is_absence:
            raise
        return task.source.read_partly(task.block)


_COMPUTE = ThreadPoolExecutor(1, thread_name_prefix="compute")
"""The only thread that computes and that uses ``_built``. OpenMP creates a pool of threads for each computing thread;
with more OpenMP threads than cores, all of them sleep at every barrier, which cost a fifth of a worker's time."""
_built: "tuple[tuple[str, ResolvedRunConfig, bool | None], Localizer] | None" = None
"""The localizer of this process, with the run and settings that it was built for. There is only one, because a
second model might not fit into memory."""


def _load(task: Task) -> float:
    """Prepare the localizer, and return the time that this took."""
    started = time.perf_counter()
    _localizer(task)
    return time.perf_counter() - started


def _compute(task: Task, stack: FrameStack) -> tuple[pa.Table, float, int | None]:
    """Return the rows of the frames that a block owns, the time to compute them, and the peak GPU memory.

    The GPU memory is None without a GPU.
    """
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
    """Return the localizer of this process, and build it if absent or built for another run.

    Only the thread of ``_COMPUTE`` may call this.
    """
    global _built
    import torch

    from lls_decode.localize import build_localizer

    key = (task.run_digest, task.config, task.compiles)
    threads = resolve_threads(task.config, task.workers_per_host)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if _built is None or _built[0] != key:
        try:
            found = bundle_digest(task.bundle_path)
        except OSError as error:
            raise BundleError(
                f"Model bundle {task.bundle_path} cannot be read on this worker ({error.strerror}); put it where all "
                "machines can read it."
            ) from error
        if found != task.bundle_digest:
            raise BundleError(
                f"Model bundle {task.bundle_path} has digest {found}, but the run was planned with "
                f"{task.bundle_digest}; restore the file, or start a new run."
            )
        _built = None
        compute = task.config.compute.replace(threads=threads)
        config = task.config.replace(compute=compute)
        built = build_localizer(task.bundle_path, config, task.source.layout, compiles=task.compiles)
        _built = (key, built)
    return _built[1]


def _existing_receipt(task: Task) -> ShardReceipt | None:
    """Return the receipt of the existing shard of the block; None if there is no shard of this run."""
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
