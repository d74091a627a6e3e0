"""Which frames a table on disk answers for: by its own metadata, by its run folder, or by its rows."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.axes import IndexRange, range_text
from lls_decode.blocks import FrameRanges, expand_ranges, find_ranges, join_ranges, subtract_ranges
from lls_decode.errors import ConfigError, LlsDecodeError
from lls_decode.evaluate.coverage import FrameCoverage
from lls_decode.molecules.condition import parse_condition
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.table import TableMetadata

_MOST_FRAMES = 50_000_000
"""Frames to which the conditions of a filter are applied one by one."""
_OF_FRAMES = ("frame", "volume", "plane")
_MOVING = ("register", "join")
"""Steps after which positions are not those in the frames of one run."""


def covered_frames(
    table: Path, metadata: TableMetadata | None, frame: npt.NDArray[np.int64], *, chosen: IndexRange | None = None
) -> FrameCoverage:
    """Return the frames that count, and the region of a run with ``part.roi``.

    Parameters
    ----------
    table, metadata, frame
        The table, what it says of itself (None: nothing), and the frames of its rows.
    chosen
        Frames that were asked for; of a table that says which frames it covers, only those of them count.

    Raises
    ------
    ConfigError
        The table covers none of the frames that were asked for.
    """
    stated = None if metadata is None else _stated(table, metadata)
    region = None if metadata is None else _region_nm(metadata)
    if stated is not None and metadata is not None:
        known = FrameCoverage(_filtered(stated[0], metadata), stated[1], region_nm=region)
        if chosen is None:
            return known
        ranges = known.within(chosen[0] or 0, chosen[1])
        if not ranges:
            raise ConfigError(
                f"--frames {range_text(chosen)} holds none of the frames that {table} covers ({known.describe()}); "
                "choose among these."
            )
        return replace(known, ranges=ranges, source=f"--frames {range_text(chosen)}, and what the table covers")
    last = int(frame.max()) + 1 if len(frame) else 0
    if chosen is not None:
        start, stop = chosen[0] or 0, chosen[1]
        return FrameCoverage(
            ((start, max(last, start + 1) if stop is None else stop),),
            f"--frames {range_text(chosen)}",
            region_nm=region,
        )
    ranges = ((int(frame.min()), last),) if len(frame) else ()
    return FrameCoverage(
        ranges,
        "first to last frame with rows, as the table does not say which frames it covers (--frames START:STOP does)",
        is_stated=False,
        region_nm=region,
    )


def _region_nm(metadata: TableMetadata) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Return the ranges of x and y that a run with ``part.roi`` has localized, in the table's coordinates.

    Pixel i reaches from i - 1/2 to i + 1/2. The region is unknown (None) when rows were moved since: registered or joined.
    """
    roi = (metadata.configuration.get("part") or {}).get("roi")
    pixel = metadata.pixel_size
    if roi is None or pixel is None or any(step.get("step") in _MOVING for step in metadata.history):
        return None
    (left, right), (top, bottom) = roi["x"], roi["y"]
    return (
        ((left - 0.5) * pixel.x_nm, (right - 0.5) * pixel.x_nm),
        ((top - 0.5) * pixel.y_nm, (bottom - 0.5) * pixel.y_nm),
    )


def _stated(table: Path, metadata: TableMetadata) -> tuple[FrameRanges, str] | None:
    """What the table, or the folder of its run, says."""
    if metadata.frames is not None:
        return metadata.frames, "those that the table covers"
    if metadata.run_digest is not None:
        ranges = _of_folder(table.parent, metadata)
        if ranges is not None:
            return ranges, "those of the run, by its folder"
    part = (metadata.configuration.get("part") or {}).get("volumes")
    if part and None not in part and not metadata.missing_blocks:
        planes = metadata.planes_per_volume or 1
        ranges = subtract_ranges(((part[0] * planes, part[1] * planes),), metadata.lost_frames)
        return ranges, "those of the run, by its configuration"
    num = _of_picasso(metadata.input)
    return None if num is None else (((0, num),), "those of the data set, by Picasso's metadata")


def _of_folder(folder: Path, metadata: TableMetadata) -> FrameRanges | None:
    """Frames of the blocks of a run, from the record beside its table; None where there is none of the same run."""
    try:
        record = RunFolder(folder).read_record()
    except LlsDecodeError:
        return None
    if record is None or record.run_digest != metadata.run_digest:
        return None
    missing = set(metadata.missing_blocks)
    ranges = join_ranges((block.frame_range,) for block in record.plan_blocks() if block.id not in missing)
    return subtract_ranges(ranges, metadata.lost_frames)


def _of_picasso(source: Mapping[str, Any]) -> int | None:
    """Frames of the data set that an imported Picasso file names."""
    for step in source.get("metadata") or ():
        if isinstance(step, Mapping) and isinstance(step.get("Frames"), int):
            return int(step["Frames"])
    return None


def _filtered(ranges: FrameRanges, metadata: TableMetadata) -> FrameRanges:
    """Leave out the frames whose rows a filter has taken away, whatever these rows were."""
    conditions = [item for step in metadata.history if step.get("step") == "filter" for item in _conditions(step)]
    if not conditions or not ranges or sum(stop - start for start, stop in ranges) > _MOST_FRAMES:
        return ranges
    frame, planes = expand_ranges(ranges), metadata.planes_per_volume or 1
    rows = pa.table({"frame": frame, "volume": frame // planes, "plane": frame % planes})
    for condition in conditions:
        rows = rows.filter(parse_condition(condition, rows.schema).expression)
    return find_ranges(rows["frame"].to_numpy())


def _conditions(step: Mapping[str, Any]) -> Iterator[str]:
    """The conditions of a filter that are on frames alone."""
    for name in ("volume", "plane"):
        start, stop = step.get(f"{name}s") or (None, None)
        yield from [] if start is None else [f"{name} >= {start}"]
        yield from [] if stop is None else [f"{name} < {stop}"]
    where = str(step.get("where") or "")
    if re.search(r"\bor\b|\bnot\b|[()|]", where):
        return
    for part in re.split(r"\band\b|&", where):
        names = set(re.findall(r"[A-Za-z_]\w*", part))
        if names and names <= set(_OF_FRAMES):
            yield part.strip()
