"""Record of frames that cannot be read, and of the reasons in words.

Shape letters: ``T`` frames of a stack.
"""

import numpy as np
import numpy.typing as npt

from lls_decode.blocks import Block, FrameRanges, find_ranges
from lls_decode.frames.mapping.frame_map import FrameMap, Slab, name_frames
from lls_decode.frames.reading.chunks import Cause, Damage

_MOST_NAMED = 4
_MOST_ARRAYS = 2
_ADVICE: dict[Cause, str] = {
    "absent": "restore it from a copy, then rerun to process these frames; or, if the writer omitted chunks that "
    "contain only the fill value, set input.absent=fill to read them as such",
    "absent without fill": "restore it from a copy, then rerun to process these frames; the fill value of the array is "
    "undefined or not finite, so nothing can stand for it",
    "damaged": "restore it from a copy, then rerun to process these frames",
    "denied": "give the user of this program permission to read it, then rerun to process these frames",
}


class Losses:
    """Lost and filled frames of a stack, by their positions, with the damaged chunks."""

    def __init__(self, num_frames: int) -> None:
        self.lost_T = np.zeros(num_frames, dtype=np.bool_)
        self._filled_T = np.zeros(num_frames, dtype=np.bool_)
        self._frame_map: FrameMap | None = None
        self._damaged: dict[tuple[int, str], dict[str, Damage]] = {}
        """Damaged chunks by array (number, and name in messages), then by key."""

    def count(self, slab: Slab, frame_map: FrameMap, *, where: str, lost: list[Damage], filled: list[Damage]) -> None:
        """Record the frames of a slab that damaged chunks affect; ``where`` is the name of the array in messages."""
        for mask_T, damaged in ((self.lost_T, lost), (self._filled_T, filled)):
            for item in damaged:
                along = dict(zip(frame_map.axes, item.region, strict=True))
                t, z = along.get("t", range(1)), along.get("z", range(1))
                inside = (slab.t >= t.start) & (slab.t < t.stop) & (slab.z >= z.start) & (slab.z < z.stop)
                mask_T[slab.position[inside]] = True
        if lost:
            self._frame_map = frame_map
            self._damaged.setdefault((slab.array, where), {}).update({item.key: item for item in lost})

    @property
    def causes(self) -> set[Cause]:
        """Causes of all losses."""
        return {item.cause for damaged in self._damaged.values() for item in damaged.values()}

    @property
    def reason(self) -> str:
        """Reasons why frames are lost, one sentence for each of the first arrays; empty if no frame is lost."""
        if self._frame_map is None:
            return ""
        texts = [
            describe_damage(where, self._frame_map, number, list(damaged.values()))
            for (number, where), damaged in list(self._damaged.items())[:_MOST_ARRAYS]
        ]
        more = len(self._damaged) - _MOST_ARRAYS
        return " ".join([*texts, *([f"And {more} more arrays are affected."] if more > 0 else [])])

    def lost(self, block: Block) -> FrameRanges:
        """Return the numbers of the lost frames."""
        return _number(block, self.lost_T)

    def filled(self, block: Block) -> FrameRanges:
        """Return the numbers of the frames that consist, at least partly, of the fill value."""
        return _number(block, self._filled_T & ~self.lost_T)


def _number(block: Block, mask_T: npt.NDArray[np.bool_]) -> FrameRanges:
    if not mask_T.any():
        return ()
    volume, plane = block.frames[mask_T].T
    return find_ranges(volume * block.planes_per_volume + plane)


def describe_damage(where: str, frame_map: FrameMap, number: int, damaged: list[Damage]) -> str:
    """Describe which chunks of array ``number`` cannot be read, which frames they hold, and what to do."""
    parts = []
    for cause, advice in _ADVICE.items():
        some = [item for item in damaged if item.cause == cause]
        if some:
            texts = [
                f"{item.key} {item.reason}, it holds {_name_frames(frame_map, number, item)}"
                for item in some[:_MOST_NAMED]
            ]
            more = f"; and {len(some) - _MOST_NAMED} more" if len(some) > _MOST_NAMED else ""
            parts.append(f"chunk {'; chunk '.join(texts)}{more}; {advice}")
    return f"{where}: {'; '.join(parts)}."


def _name_frames(frame_map: FrameMap, number: int, damage: Damage) -> str:
    along = dict(zip(frame_map.axes, damage.region, strict=True))
    frames = frame_map.frames_in(number, along.get("t", range(1)), along.get("z", range(1)))
    return name_frames(frames, frame_map.layout.planes_per_volume)
