"""State of each volume, counted from the states of the blocks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lls_decode.blocks import Block

from .run_status import VolumeRange, VolumeState


@dataclass(frozen=True)
class VolumeCoverage:
    """Volumes and planes of all blocks, to derive the state of each volume from the states of the blocks."""

    starts: npt.NDArray[np.int64]
    """First volume of each block."""
    stops: npt.NDArray[np.int64]
    """One past the last volume of each block."""
    planes: npt.NDArray[np.int64]
    """Number of planes that each block owns in each of its volumes."""
    num_volumes: int
    planes_per_volume: int

    @classmethod
    def of(cls, blocks: Sequence[Block]) -> "VolumeCoverage":
        """Return the coverage of a sequence of blocks."""
        columns = ((b.volume_start, b.volume_stop, b.plane_stop - b.plane_start) for b in blocks)
        starts, stops, planes = np.array(list(columns), dtype=np.int64).reshape(-1, 3).T
        last = blocks[-1] if blocks else None
        return cls(starts, stops, planes, last.num_volumes if last else 0, last.planes_per_volume if last else 0)

    def ranges(
        self, done: npt.NDArray[np.bool_], failed: npt.NDArray[np.bool_], lost: npt.NDArray[np.int64]
    ) -> tuple[VolumeRange, ...]:
        """Return the state of each volume, with consecutive volumes of the same state joined.

        Parameters
        ----------
        done, failed
            Whether each block is done or has failed.
        lost
            Volumes with frames that could not be read.
        """
        if not len(self.starts):
            return ()
        planes_done, planes_failed = self._planes_per_volume(done), self._planes_per_volume(failed)
        code = np.where(planes_done == self.planes_per_volume, 1, np.where(planes_done > 0, 2, 0))
        code[planes_failed > 0] = 3
        code[lost] = 3
        first = int(self.starts.min())  # a part of a dataset has its own first and last volume
        code = code[first : int(self.stops.max())]
        names: tuple[VolumeState, ...] = ("left", "done", "partial", "failed")
        starts = np.flatnonzero(np.diff(code, prepend=-1)).tolist()
        stops = [*starts[1:], len(code)]
        return tuple(
            VolumeRange(first + start, first + stop, names[code[start]])
            for start, stop in zip(starts, stops, strict=True)
        )

    def _planes_per_volume(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        change = np.zeros(self.num_volumes + 1, dtype=np.int64)
        np.add.at(change, self.starts[mask], self.planes[mask])
        np.add.at(change, self.stops[mask], -self.planes[mask])
        return np.cumsum(change)[:-1]
