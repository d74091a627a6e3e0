"""Speed of a run and the time that its workers spent on each step, from its ledger and its events."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lls_decode.pipelines.journal.events import BlockDone, Merged, RunStarted
from lls_decode.pipelines.journal.folder import RunFolder

_MOST_BINS = 60


@dataclass(frozen=True)
class Throughput:
    """Speed of all starts of a run together; the time between starts is excluded."""

    starts: int
    """Number of starts."""
    working_s: float
    """Working time: the sum over the starts of the time from the start to its last finished block."""
    frames: int
    """Number of frames that were finished in the working time."""
    workers: int
    """Number of worker processes that finished a block."""
    work_s: dict[str, float]
    """Total time of all workers for starting, reading, computing and writing."""
    merge_s: float | None
    """Duration of the latest merge; None if there was none."""
    edges_s: npt.NDArray[np.float64]
    """(B + 1,) edges of bins of the working time."""
    frames_per_s: npt.NDArray[np.float64]
    """(B,) speed in each bin."""

    @property
    def mean_frames_per_s(self) -> float:
        """Mean speed; NaN before the first block."""
        return self.frames / self.working_s if self.working_s > 0 else np.nan


def read_throughput(folder: RunFolder) -> Throughput | None:
    """Read the throughput of a run from its folder; None if no block was computed."""
    ledger, _ = folder.read_ledger()
    computed = [event for event in ledger if isinstance(event, BlockDone) and not event.found]
    if not computed:
        return None
    events = folder.read_events()
    starts = [event.at for event in events if isinstance(event, RunStarted)]
    done_s, frames = _working_times(computed, starts), np.array([event.frames for event in computed])
    # the frames of a block are spread over the time since the previous block, so few blocks need wide bins
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
    """Return the working time at which each block was finished, in ascending order, s."""
    at = np.array([event.at for event in computed], dtype=np.float64)
    begins = np.array([start for start in starts if start <= at[-1]] or [at[0]], dtype=np.float64)
    session = np.maximum(np.searchsorted(begins, at, side="right") - 1, 0)
    elapsed = np.maximum(at - begins[session], 0.0)
    length = np.zeros(len(begins))
    np.maximum.at(length, session, elapsed)
    return np.asarray(np.concatenate([[0.0], np.cumsum(length)])[session] + elapsed)
