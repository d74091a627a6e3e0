"""How fast a run went and what its workers did meanwhile, from its ledger and its events."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lls_decode.pipelines.journal.events import BlockDone, Merged, RunStarted
from lls_decode.pipelines.journal.folder import RunFolder

_MOST_BINS = 60


@dataclass(frozen=True)
class Throughput:
    """Of all starts of a run together; the time between starts is left out."""

    starts: int
    working_s: float
    """From each start to the last block that it finished."""
    frames: int
    """Done in that time."""
    workers: int
    """Processes that have finished a block."""
    work_s: dict[str, float]
    """Seconds of all workers together: starting, reading, computing, writing."""
    merge_s: float | None
    edges_s: npt.NDArray[np.float64]
    """(B + 1,) working time."""
    frames_per_s: npt.NDArray[np.float64]
    """(B,)"""

    @property
    def mean_frames_per_s(self) -> float:
        """NaN before the first block."""
        return self.frames / self.working_s if self.working_s > 0 else np.nan


def read_throughput(folder: RunFolder) -> Throughput | None:
    """Read it from a run folder; None when no block of it was computed."""
    ledger, _ = folder.read_ledger()
    computed = [event for event in ledger if isinstance(event, BlockDone) and not event.found]
    if not computed:
        return None
    events = folder.read_events()
    starts = [event.at for event in events if isinstance(event, RunStarted)]
    done_s, frames = _working_times(computed, starts), np.array([event.frames for event in computed])
    # a block's frames were done since the block before it: few blocks need wide bins
    bins = int(np.clip(len(computed) // 2, 1, _MOST_BINS))
    edges = np.linspace(0.0, max(float(done_s[-1]), 1e-3), bins + 1)
    cumulative = np.interp(edges, np.concatenate([[0.0], done_s]), np.concatenate([[0], np.cumsum(frames)]))
    merges = [event.merge_s for event in events if isinstance(event, Merged)]
    return Throughput(
        starts=len(starts),
        working_s=float(done_s[-1]),
        frames=int(frames.sum()),
        workers=len({(event.worker, event.pid) for event in computed}),
        work_s={
            "starting": sum(event.start_s for event in computed),
            "reading": sum(event.read_s for event in computed),
            "computing": sum(event.compute_s for event in computed),
            "writing": sum(event.write_s for event in computed),
        },
        merge_s=merges[-1] if merges else None,
        edges_s=edges,
        frames_per_s=np.diff(cumulative) / np.diff(edges),
    )


def _working_times(computed: Sequence[BlockDone], starts: Sequence[float]) -> npt.NDArray[np.float64]:
    """When each block was done, in seconds of the time in which the run was worked at; ascending."""
    at = np.array([event.at for event in computed], dtype=np.float64)
    begins = np.array([start for start in starts if start <= at[-1]] or [at[0]], dtype=np.float64)
    session = np.maximum(np.searchsorted(begins, at, side="right") - 1, 0)
    elapsed = np.maximum(at - begins[session], 0.0)
    length = np.zeros(len(begins))
    np.maximum.at(length, session, elapsed)
    return np.asarray(np.concatenate([[0.0], np.cumsum(length)])[session] + elapsed)
