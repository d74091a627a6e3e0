"""Picasso's HDF5: one compound dataset ``/locs``, with metadata as YAML beside the file and as JSON inside.

Positions are in pixels (z in nm), frames count from 0, the centre of the first pixel is at 0. Picasso knows one pixel
size for both axes. On loading it keeps only rows inside its picture, from 0 to width and height. The picture is that of
the dataset. If planes are tilted, it begins elsewhere: all rows are then moved by whole pixels, and the metadata state
the shift. Molecules have the columns of Picasso's linked localizations: ``len`` frames from the first to the last, and
``n`` detections.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import yaml

from lls_decode import __version__
from lls_decode.config import PixelSize, stated_pixel_size
from lls_decode.documents import parse_json, read_yaml_documents
from lls_decode.errors import TableError
from lls_decode.export.field import DatasetSize, Field
from lls_decode.export.foreign.foreign_table import FileHead, ForeignTable
from lls_decode.export.hdf5 import created, opened, read_records
from lls_decode.export.rows import ExportTable, Rows
from lls_decode.export.written import Written
from lls_decode.outputs import note_read
from lls_decode.table import written_aside
from lls_decode.table.csv_layouts import CsvLayout
from lls_decode.table.files import check_replaceable

_CHUNK_BYTES = 2**20
"""Size of the cache that HDF5 keeps while a chunk is filled."""
_SHIFT = "Shift (px)"

_PIXELS: Final = {"x": "x_nm", "y": "y_nm", "lpx": "x_sig", "lpy": "y_sig"}
"""Columns that Picasso has in pixels, and we in nm."""
_SAME: Final = {
    "z": "z_nm",
    "photons": "photons",
    "bg": "bg",
    "lpz": "z_sig",
    "photons_unc": "phot_sig",
    "prob": "prob",
    "plane": "plane",
    "volume": "volume",
    "channel": "channel",
    "n": "num_frames",
    "num_planes": "num_planes",
    "num_volumes": "num_volumes",
    "prob_any": "prob_any",
}
_INTEGERS: Final = {
    "frame": np.uint32, "plane": np.uint16, "volume": np.uint32, "group": np.int32, "channel": np.uint16,
    "len": np.int32, "n": np.int32, "num_planes": np.uint16, "num_volumes": np.uint32,
}  # fmt: skip


def write(table: ExportTable, out: Path) -> Written:
    """Write ``out`` and a YAML file of the same name beside it, with rows sorted by frame.

    Raises
    ------
    TableError
        Numbers are missing or too large, which Picasso does not accept.
    """
    table.require("x_nm", "y_nm", "x_sig", "y_sig", reason="Picasso needs x, y, lpx and lpy of every localization")
    extra = [name for name in _SAME.values() if table.knows(name)]
    table.require(*extra, reason="Picasso allows no NaN")
    if table.survey.high["group"] > np.iinfo(np.int32).max:
        raise TableError(f"{table.path} has groups above {np.iinfo(np.int32).max}, the largest number in Picasso.")
    field = table.field(_square(table))
    metadata = _metadata(table, field)
    columns = ["frame", "x", "y", "lpx", "lpy", *(theirs for theirs, ours in _SAME.items() if ours in extra)]
    columns += ["sx", "sy"] if table.psf_sigma_nm else []
    columns += ["group"] if table.has_groups else []
    columns += ["len"] if table.knows("last_frame") else []
    columns += ["photon_rate"] if table.knows("photons", "num_frames") else []
    dtype = np.dtype([(name, _INTEGERS.get(name, np.float32)) for name in columns])
    num_rows, outside = table.survey.num_rows, 0
    beside = out.with_suffix(".yaml")
    check_replaceable(beside)  # before the table, which may be long, is written
    with written_aside(out) as temporary, table.by_frame(out) as pieces:
        with created(temporary) as file:
            locs = file.create_dataset(
                "locs",
                shape=(num_rows,),
                dtype=dtype,
                chunks=(min(num_rows, _CHUNK_BYTES // dtype.itemsize),),
                compression="gzip",
                compression_opts=1,
            )
            start = 0
            for rows in pieces:
                stop = start + len(rows["frame"])
                theirs = _their_rows(rows, table, dtype, field)
                outside += _count_outside(theirs, field)
                locs[start:stop] = theirs
                start = stop
            file.create_dataset("metadata", data=json.dumps([metadata]))
        with written_aside(beside) as text:
            text.write_text(yaml.safe_dump_all([metadata], sort_keys=False), encoding="utf-8")
    ours = {"frame", "x_nm", "y_nm", "x_sig", "y_sig", *extra}
    ours |= {ours for theirs, ours in (("group", "group"), ("len", "last_frame")) if theirs in columns}
    return Written(frozenset(ours), notes=(*field.notes, *_says_outside(outside, num_rows, field)))


def _square(table: ExportTable) -> PixelSize:
    return PixelSize(x_nm=table.pixel_size.x_nm, y_nm=table.pixel_size.x_nm)


def _metadata(table: ExportTable, field: Field) -> dict[str, Any]:
    """Return Picasso's metadata: image size and pixel size, which it needs, and the origin of the rows."""
    found = {
        "Width": field.size_px[0],
        "Height": field.size_px[1],
        "Frames": field.num_frames,
        "Pixelsize": table.pixel_size.x_nm,
        "Generated by": f"lls_decode {__version__}",
        "Coordinates": table.coords,
        _SHIFT: [-first for first in field.first_px],
        "Source": table.path.name,
    }
    if table.metadata.channels:
        names = {number: table.metadata.channel_label(number) for number in range(len(table.metadata.channels))}
        found["Channels"] = [names[number] for number in sorted(names)]
    return found


def _count_outside(locs: npt.NDArray[Any], field: Field) -> int:
    width, height = field.size_px
    inside = (locs["x"] >= 0) & (locs["x"] < width) & (locs["y"] >= 0) & (locs["y"] < height)
    return int(np.count_nonzero(~inside))


def _says_outside(outside: int, num_rows: int, field: Field) -> list[str]:
    if not outside:
        return []
    (left, top), (width, height) = field.first_px, field.size_px
    return [
        f"{outside} of {num_rows} rows lie outside the frames (x from {left} to {left + width}, y from {top} to "
        f"{top + height} pixels): they are in the file, but Picasso drops them on loading; give another size or "
        "first_px (--size, --first-pixel) to keep them"
    ]


def _their_rows(rows: Rows, table: ExportTable, dtype: np.dtype[Any], field: Field) -> npt.NDArray[Any]:
    found = np.empty(len(rows["frame"]), dtype)
    pixel_nm, psf = table.pixel_size.x_nm, table.psf_sigma_nm or (np.nan, np.nan)
    values: dict[str, Any] = {
        **{theirs: rows[ours] for theirs, ours in _SAME.items() if ours in rows},
        **{theirs: rows[ours] / pixel_nm for theirs, ours in _PIXELS.items()},
        "frame": rows["frame"],
        "group": rows.get("group"),
        "sx": psf[0] / pixel_nm,
        "sy": psf[1] / pixel_nm,
    }
    values["x"], values["y"] = values["x"] - field.first_px[0], values["y"] - field.first_px[1]
    if "last_frame" in rows:
        values["len"] = rows["last_frame"] - rows["frame"] + 1
    if "num_frames" in rows and "photons" in rows:
        values["photon_rate"] = rows["photons"] / rows["num_frames"]
    for name in dtype.names or ():
        found[name] = values[name]
    return found


# --- reading ---------------------------------------------------------------------------------------------------------


def recognizes(head: FileHead) -> bool:
    """Return whether a file has a dataset ``/locs``."""
    return "locs" in head.hdf5_names


LAYOUT: Final = CsvLayout(
    "Picasso",
    required={"frame": "frame", "x": "x_nm", "y": "y_nm"},
    optional={
        "lpx": "x_sig",
        "lpy": "y_sig",
        **_SAME,
        "group": "group",
        "len": "span_frames",
    },
    first_frame=0,
    origin_px=0.0,
    units=dict.fromkeys(_PIXELS, "px"),
)


def read(path: Path) -> ForeignTable:
    """Read ``/locs``; the pixel size comes from the metadata inside the file or beside it."""
    with opened(path) as file:
        if not hasattr(file["locs"], "dtype"):
            raise TableError(f"{path} has a group /locs (SMAPpy's own HDF5), expected Picasso's table; save it as csv.")
        names = file["locs"].dtype.names or ()
        inside = file["metadata"][()] if "metadata" in file else None
    steps = _read_steps(path, inside)
    shift_px = next((step[_SHIFT] for step in steps if _SHIFT in step), (0, 0))
    notes = (f"moved back by {shift_px} px, as stated in the metadata",) if any(shift_px) else ()
    size = DatasetSize() if any(shift_px) else _stored_size(steps)
    return ForeignTable(
        tuple(names),
        partial(read_records, path, "locs"),
        layout=LAYOUT,
        pixel_size=_stored_pixel_size(steps),
        moved_px=(float(shift_px[0]), float(shift_px[1])),
        channel_names=_channel_names(steps),
        notes=notes,
        details={"metadata": [_plain(step) for step in steps]},
        size=size,
    )


def _channel_names(steps: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    stated = (step["Channels"] for step in reversed(steps) if isinstance(step.get("Channels"), list))
    names: list[Any] = next(stated, [])
    return tuple(str(name) for name in names)


def _read_steps(path: Path, inside: Any) -> list[Mapping[str, Any]]:
    """Return one mapping for each processing step, oldest first."""
    beside = path.with_suffix(".yaml")
    note_read(beside)
    try:
        steps = parse_json(inside) if inside is not None else None
        if steps is None and beside.is_file():
            steps = read_yaml_documents(beside)
    except (ValueError, TypeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise TableError(f"The metadata of {path} cannot be read ({reason}); repair or remove them.") from error
    return [step for step in steps or [] if isinstance(step, Mapping)]


def _stored_pixel_size(steps: list[Mapping[str, Any]]) -> PixelSize | None:
    for step in reversed(steps):
        size = step.get("Pixelsize")
        if isinstance(size, int | float) and (found := stated_pixel_size(size, size)) is not None:
            return found
    return None


def _stored_size(steps: list[Mapping[str, Any]]) -> DatasetSize:
    """Return the movie size that the latest steps state."""
    names = {"width": "Width", "height": "Height", "num_frames": "Frames"}
    said = {ours: next((step[name] for step in reversed(steps) if name in step), None) for ours, name in names.items()}
    return DatasetSize(**{name: int(value) for name, value in said.items() if isinstance(value, int | float)})


def _plain(step: Mapping[str, Any]) -> dict[str, Any]:
    """Return the short values only, since metadata of a simulation hold the whole structure."""
    return {
        str(key): value for key, value in step.items() if isinstance(value, str | int | float) and len(str(value)) < 200
    }
