"""How fast a run went and what its workers did meanwhile, from its ledger and its events."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.pipelines.journal.events import read_json_lines
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
    shares: dict[str, float]
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
    records, _ = folder.read_ledger()
    events = [item for path in folder.files_of("events") for item in read_json_lines(path)[0]]
    computed = [item for item in records if item.get("event") == "BlockDone" and item["attempts"] > 0]
    if not computed:
        return None
    computed.sort(key=lambda item: item["at"])
    starts = sorted(item["at"] for item in events if item.get("event") == "RunStarted")
    done_s, frames = _working_times(computed, starts), np.array([item["frames"] for item in computed])
    # a block's frames were done since the block before it: few blocks need wide bins
    bins = int(np.clip(len(computed) // 2, 1, _MOST_BINS))
    edges = np.linspace(0.0, max(float(done_s[-1]), 1e-3), bins + 1)
    cumulative = np.interp(edges, np.concatenate([[0.0], done_s]), np.concatenate([[0], np.cumsum(frames)]))
    merges = [item["merge_s"] for item in events if item.get("event") == "Merged"]
    return Throughput(
        starts=len(starts),
        working_s=float(done_s[-1]),
        frames=int(frames.sum()),
        workers=len({(item["worker"], item["pid"]) for item in computed}),
        shares={
            name: float(sum(item[f"{key}_s"] for item in computed))
            for name, key in (
                ("starting", "start"),
                ("reading", "read"),
                ("computing", "compute"),
                ("writing", "write"),
            )
        },
        merge_s=merges[-1] if merges else None,
        edges_s=edges,
        frames_per_s=np.diff(cumulative) / np.diff(edges),
    )


def _working_times(computed: Sequence[dict[str, Any]], starts: Sequence[float]) -> npt.NDArray[np.float64]:
    """When each block was done, in seconds of the time in which the run was worked at; ascending."""
    at = np.array([item["at"] for item in computed], dtype=np.float64)
    begins = np.array([start for start in starts if start <= at[-1]] or [at[0]], dtype=np.float64)
    session = np.maximum(np.searchsorted(begins, at, side="right") - 1, 0)
    elapsed = np.maximum(at - begins[session], 0.0)
    length = np.zeros(len(begins))
    np.maximum.at(length, session, elapsed)
    return np.asarray(np.concatenate([[0.0], np.cumsum(length)])[session] + elapsed)
