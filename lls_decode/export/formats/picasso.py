"""Picasso's HDF5: one compound dataset ``/locs``, and its metadata as YAML beside it and as JSON inside.

Pixels (z in nm), frames from 0, the centre of the first pixel at 0. Picasso knows one pixel size for both axes. When it
loads a file it keeps what lies in its picture, from 0 to the width and the height. The picture is that of the dataset:
where planes are tilted it begins elsewhere, so that all rows are moved by whole pixels, and the metadata say by how
many. Molecules have the columns of Picasso's linked localizations: ``len`` frames from the first to the last, ``n``
detections.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import yaml

from lls_decode import __version__
from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError, TableError
from lls_decode.export.field import DatasetSize, Field
from lls_decode.export.foreign_table import Columns, FileHead, ForeignTable, slices
from lls_decode.export.hdf5 import h5py_module, opened
from lls_decode.export.rows import ExportTable, Rows
from lls_decode.export.written import Written
from lls_decode.outputs import note_read
from lls_decode.table import written_aside
from lls_decode.table.files import check_replaceable

_CHUNK_BYTES = 2**20
"""What HDF5 keeps at hand while a chunk is filled."""
_SHIFT = "Shift (px)"

_PIXELS: Final = {"x": "x_nm", "y": "y_nm", "lpx": "x_sig", "lpy": "y_sig"}
"""Columns in pixels there, in nm here."""
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
    """Write ``out`` and the YAML file of the same name beside it, rows by frame.

    Raises
    ------
    TableError
        Numbers that are missing or too large: Picasso stands none of it.
    """
    table.require("x_nm", "y_nm", "x_sig", "y_sig", reason="Picasso needs x, y, lpx and lpy of every localization")
    extra = [name for name in _SAME.values() if table.knows(name)]
    table.require(*extra, reason="Picasso allows no NaN")
    if table.survey.high["group"] > np.iinfo(np.int32).max:
        raise TableError(f"{table.path} has groups above {np.iinfo(np.int32).max}, the largest that Picasso counts.")
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
    check_replaceable(beside)  # before a table of any length is written
    with table.by_frame(out) as pieces, written_aside(out) as temporary:
        with h5py_module().File(temporary, "w") as file:
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
            text.write_text(yaml.safe_dump_all([metadata], sort_keys=False))
    ours = {"frame", "x_nm", "y_nm", "x_sig", "y_sig", *extra}
    ours |= {ours for theirs, ours in (("group", "group"), ("len", "last_frame")) if theirs in columns}
    return Written(frozenset(ours), notes=(*field.notes, *_says_outside(outside, num_rows, field)))


def _square(table: ExportTable) -> PixelSize:
    return PixelSize(x_nm=table.pixel_size.x_nm, y_nm=table.pixel_size.x_nm)


def _metadata(table: ExportTable, field: Field) -> dict[str, Any]:
    """Image size and pixel size, which Picasso needs, and where the rows come from."""
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
        f"{top + height} pixels): they are in the file, but Picasso drops them when it loads it; give another size or "
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
    """A dataset ``/locs``."""
    return "locs" in head.hdf5_names


def read(path: Path, pixel_size: PixelSize | None) -> ForeignTable:
    """Read ``/locs``; the pixel size comes from the metadata, inside or beside, unless it is given."""
    with opened(path) as file:
        if not hasattr(file["locs"], "dtype"):
            raise TableError(f"{path} has a group /locs (SMAPpy's own HDF5), expected Picasso's table; save it as csv.")
        names = file["locs"].dtype.names or ()
        inside = file["metadata"][()] if "metadata" in file else None
    steps = _read_steps(path, inside)
    for name in ("frame", "x", "y"):
        if name not in names:
            raise TableError(f"{path} has no column {name!r} in /locs; expected a table of Picasso.")
    pixel = pixel_size or _stored_pixel_size(steps)
    if pixel is None:
        raise ConfigError(f"{path} is in pixels, and no metadata say how large one is; give pixel_size (--pixel-nm).")
    shift_px = next((step[_SHIFT] for step in steps if _SHIFT in step), (0, 0))

    def pieces(rows_at_once: int) -> Iterator[Columns]:
        with opened(path) as file:
            for part in slices(len(file["locs"]), rows_at_once):
                yield _our_columns(file["locs"][part], pixel, shift_px)

    notes = (f"moved back by {shift_px} px, as the metadata say",) if any(shift_px) else ()
    size = DatasetSize() if any(shift_px) else _stored_size(steps)
    details = {"metadata": [_plain(step) for step in steps], **size.to_dict()}
    return ForeignTable(pieces, pixel_size=pixel, notes=notes, details=details)


def _our_columns(locs: npt.NDArray[Any], pixel: PixelSize, shift_px: Sequence[float]) -> Columns:
    names = locs.dtype.names or ()
    columns = {ours: locs[theirs] for theirs, ours in _SAME.items() if theirs in names}
    columns |= {name: locs[name] for name in ("frame", "group") if name in names}
    sizes = {"x": pixel.x_nm, "y": pixel.y_nm, "lpx": pixel.x_nm, "lpy": pixel.y_nm}
    for theirs, ours in _PIXELS.items():
        if theirs in names:
            shift = shift_px["xy".index(theirs)] if theirs in "xy" else 0
            columns[ours] = (locs[theirs].astype(np.float64) - shift) * sizes[theirs]
    return columns


def _read_steps(path: Path, inside: Any) -> list[Mapping[str, Any]]:
    """One mapping for each step of processing, oldest first."""
    beside = path.with_suffix(".yaml")
    note_read(beside)
    try:
        steps = json.loads(inside) if inside is not None else None
        if steps is None and beside.is_file():
            steps = list(yaml.safe_load_all(beside.read_text()))
    except (ValueError, TypeError, OSError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise TableError(f"The metadata of {path} cannot be read ({reason}); repair or remove them.") from error
    return [step for step in steps or [] if isinstance(step, Mapping)]


def _stored_pixel_size(steps: list[Mapping[str, Any]]) -> PixelSize | None:
    for step in reversed(steps):
        if isinstance(step.get("Pixelsize"), int | float) and step["Pixelsize"] > 0:
            return PixelSize(x_nm=step["Pixelsize"], y_nm=step["Pixelsize"])
    return None


def _stored_size(steps: list[Mapping[str, Any]]) -> DatasetSize:
    """What the latest step says of the movie."""
    names = {"width": "Width", "height": "Height", "num_frames": "Frames"}
    said = {ours: next((step[name] for step in reversed(steps) if name in step), None) for ours, name in names.items()}
    return DatasetSize(**{name: int(value) for name, value in said.items() if isinstance(value, int | float)})


def _plain(step: Mapping[str, Any]) -> dict[str, Any]:
    """Short values only: a simulation's metadata hold the whole structure."""
    return {
        str(key): value for key, value in step.items() if isinstance(value, str | int | float) and len(str(value)) < 200
    }
