"""SMAP's ``_sml.mat``: MATLAB v7.3, which is HDF5 after a block of 512 bytes.

SMAP puts the centre of the first pixel at 1 px and counts frames from 1. A vector of N rows is stored as a dataset of
shape (1, N), because MATLAB orders axes the other way round.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lls_decode import __version__
from lls_decode.config import Camera, PixelSize, stated_pixel_size
from lls_decode.errors import ConfigError, TableError
from lls_decode.export.field import DatasetSize, Field
from lls_decode.export.foreign.foreign_table import Columns, FileHead, ForeignTable, slices
from lls_decode.export.hdf5 import created, h5py_module, opened
from lls_decode.export.rows import IMPRECISE_NM, ExportTable, Rows, lateral_sigma
from lls_decode.export.written import Written
from lls_decode.table import written_aside
from lls_decode.table.csv_layouts import CsvLayout

SUFFIX: Final = "_sml.mat"
ORIGIN_PX: Final = 1.0
"""Position of the first pixel's centre in SMAP."""

_USER_BLOCK_BYTES = 512
_CHUNK_ROWS = 65_536
_CHUNK_CACHE_BYTES = 2**20
"""Chunk cache of each field during writing: two chunks of doubles."""

_FIELDS: Final = {
    "znm": "z_nm",
    "phot": "photons",
    "bg": "bg",
    "locprecznm": "z_sig",
    "xnmerr": "x_sig",
    "ynmerr": "y_sig",
    "znmerr": "z_sig",
    "photerr": "phot_sig",
    "prob": "prob",
    "plane": "plane",
    "volume": "volume",
    "channel": "channel",
    "numberInGroup": "num_frames",
    "num_planes": "num_planes",
    "num_volumes": "num_volumes",
    "prob_any": "prob_any",
}
"""SMAP fields with the same values as our columns; fields of unknown columns are omitted."""


def write(table: ExportTable, out: Path) -> Written:
    """Write ``out``, whose name must end in ``_sml.mat`` so that SMAP recognizes it. Rows are sorted by frame.

    A table without channels gets channel 0, as SMAP's own fits do.

    Raises
    ------
    ConfigError, TableError
        Wrong file name, or unknown lateral sigmas.
    """
    if not out.name.endswith(SUFFIX):
        raise ConfigError(f"{out} has a name that SMAP does not recognize; let it end in {SUFFIX!r}.")
    table.require("x_sig", "y_sig", reason="SMAP drops rows without locprecnm when it loads them")
    field, notes = table.field(table.pixel_size), []
    if table.survey.num_imprecise:
        notes.append(
            f"{table.survey.num_imprecise} of {table.survey.num_rows} rows have a lateral sigma above "
            f"{IMPRECISE_NM:g} nm; SMAP drops them on loading"
        )
    with written_aside(out) as temporary:
        with created(temporary, userblock_size=_USER_BLOCK_BYTES, rdcc_nbytes=_CHUNK_CACHE_BYTES) as file:
            saveloc = _struct(file, "saveloc", "loc", "file", "history")
            ours = _write_rows(saveloc, table, out)
            _write_file_info(saveloc, table, field, out)
            _empty_cell(saveloc, "history")
            _text(_struct(file, "fileformat", "name"), "name", "sml")
        with temporary.open("r+b") as raw:
            raw.write(_user_block())
    return Written(ours, notes=(*field.notes, *notes))


def _user_block() -> bytes:
    """Return MATLAB's header: 116 characters, 8 zero bytes, version 2, byte order, then zeros."""
    text = f"MATLAB 7.3 MAT-file, Platform: lls-decode {__version__}, HDF5 schema 1.00 ."
    return (text.encode("ascii").ljust(116) + bytes(8) + b"\x00\x02IM").ljust(_USER_BLOCK_BYTES, b"\0")


def _write_rows(saveloc: Any, table: ExportTable, out: Path) -> frozenset[str]:
    """Write the fields of ``saveloc.loc``, and return which of our columns they hold."""
    doubles = {"frame", "groupindex", "last_frame"}  # may exceed what single precision represents exactly
    known = {theirs: ours for theirs, ours in _FIELDS.items() if table.knows(ours)}
    fields = ["frame", "xnm", "ynm", "locprecnm", "filenumber", *known]
    fields += ["channel"] if "channel" not in known else []
    fields += ["LLrel"] if table.knows("prob") else []
    fields += ["groupindex"] if table.has_groups else []
    fields += ["last_frame"] if table.knows("last_frame") else []
    fields += ["PSFxnm", "PSFynm"] if table.psf_sigma_nm else []
    num_rows = table.survey.num_rows
    loc = _struct(saveloc, "loc", *fields)
    # Datasets stay open: closing one discards its chunk cache, and each piece would compress its chunk again.
    datasets = {name: _vector(loc, name, num_rows, "double" if name in doubles else "single") for name in fields}
    start = 0
    with table.by_frame(out) as pieces:
        for rows in pieces:
            stop = start + len(rows["frame"])
            values = _their_rows(rows, table)
            for name, dataset in datasets.items():
                dataset[0, start:stop] = values[name]
            start = stop
    linked = {ours for theirs, ours in (("groupindex", "group"), ("last_frame", "last_frame")) if theirs in fields}
    return frozenset({"frame", "x_nm", "y_nm", *known.values(), *linked})


def _vector(loc: Any, name: str, num_rows: int, kind: str) -> Any:
    dataset = loc.create_dataset(
        name,
        shape=(1, num_rows),
        dtype=np.float64 if kind == "double" else np.float32,
        chunks=(1, min(num_rows, _CHUNK_ROWS)),
        compression="gzip",
        compression_opts=1,
        shuffle=True,
    )
    _class(dataset, kind)
    return dataset


def _their_rows(rows: Rows, table: ExportTable) -> dict[str, Any]:
    pixel, psf = table.pixel_size, table.psf_sigma_nm or (None, None)
    return {
        "channel": 0,
        **{theirs: rows[ours] for theirs, ours in _FIELDS.items() if ours in rows},
        "frame": rows["frame"] + 1,
        "last_frame": rows["last_frame"] + 1 if "last_frame" in rows else None,
        "xnm": rows["x_nm"] + ORIGIN_PX * pixel.x_nm,
        "ynm": rows["y_nm"] + ORIGIN_PX * pixel.y_nm,
        "locprecnm": lateral_sigma(rows),
        "LLrel": rows["prob"] - 1 if "prob" in rows else None,  # as SMAP does for DECODE
        "groupindex": rows.get("group"),
        "filenumber": 1,
        "PSFxnm": psf[0],
        "PSFynm": psf[1],
    }


def _write_file_info(saveloc: Any, table: ExportTable, field: Field, out: Path) -> None:
    """Write ``saveloc.file``, which describes the movie; the camera's values are for information only."""
    pixel, (width, height) = table.pixel_size, field.size_px
    numbers = {
        "Width": [width],
        "Height": [height],
        "roi": [[*field.first_px, width, height]],
        "cam_pixelsize_um": [[pixel.x_nm / 1000, pixel.y_nm / 1000]],
        "numberOfFrames": [field.num_frames],
        **_camera_numbers(table.metadata.camera),
    }
    texts = {
        "basefile": str(table.metadata.input.get("path", table.path.name)),
        "comment": f"written by lls-decode {__version__} in {table.coords} coordinates",
    }
    file = _struct(saveloc, "file", "name", "number", "numberOfTif", "info")
    _text(file, "name", out.name)
    _number(file, "number", [1])
    _number(file, "numberOfTif", [0])
    info = _struct(file, "info", *numbers, *texts)
    for name, value in numbers.items():
        _number(info, name, value)
    for name, text in texts.items():
        _text(info, name, text)


def _camera_numbers(camera: Camera | None) -> dict[str, list[float]]:
    """Return electrons per count, offset and EM gain; NaN for per-pixel maps and unknown values."""
    conversion, offset, em_gain = (math.nan, math.nan, 1.0) if camera is None else camera.conversion()
    return {"conversion": [conversion], "offset": [offset], "emgain": [em_gain]}


def _struct(parent: Any, name: str, *fields: str) -> Any:
    """Create a MATLAB struct with its fields in this order."""
    h5py = h5py_module()
    group = parent.create_group(name)
    _class(group, "struct")
    letters = np.empty(len(fields), dtype=object)
    for number, field in enumerate(fields):
        letters[number] = np.frombuffer(field.encode("ascii"), dtype="S1")
    group.attrs.create("MATLAB_fields", letters, dtype=h5py.vlen_dtype(np.dtype("S1")))
    return group


def _class(item: Any, name: str) -> None:
    item.attrs["MATLAB_class"] = np.bytes_(name)


def _number(parent: Any, name: str, value: Any) -> None:
    """Write a row of doubles; ``value`` has MATLAB's order, (rows, columns)."""
    _class(parent.create_dataset(name, data=np.atleast_2d(np.asarray(value, dtype=np.float64)).T), "double")


def _text(parent: Any, name: str, text: str) -> None:
    """Write a row of UTF-16 characters."""
    codes: npt.NDArray[np.uint16] = np.frombuffer(text.encode("utf-16-le"), dtype="<u2").reshape(-1, 1)
    dataset = parent.create_dataset(name, data=codes)
    _class(dataset, "char")
    dataset.attrs["MATLAB_int_decode"] = np.int32(2)


def _empty_cell(parent: Any, name: str) -> None:
    dataset = parent.create_dataset(name, data=np.zeros(2, dtype=np.uint64))
    _class(dataset, "cell")
    dataset.attrs["MATLAB_empty"] = np.uint8(1)


# --- reading ---------------------------------------------------------------------------------------------------------


def recognizes(head: FileHead) -> bool:
    """Return whether this is a MATLAB file of SMAP or an older MATLAB file, which `read` refuses."""
    return "saveloc" in head.hdf5_names or head.start.startswith(b"MATLAB 5.0")


LAYOUT: Final = CsvLayout(
    "SMAP",
    required={"frame": "frame", "xnm": "x_nm", "ynm": "y_nm"},
    optional={
        **_FIELDS,
        "locprecnm": "xy_sig",
        "phot_err": "phot_sig",  # name in SMAP's DECODE loader
        "groupindex": "group",
        "last_frame": "last_frame",
        "filenumber": "file",
    },
    first_frame=1,
    origin_px=ORIGIN_PX,
    fills_channel=True,
)


def read(path: Path) -> ForeignTable:
    """Read ``saveloc.loc`` of a v7.3 file; ``locprecnm`` gives both lateral sigmas if there are no others."""
    if not FileHead.of(path).hdf5_names:
        raise TableError(f"{path} is a MATLAB file older than v7.3; load it in SMAP, and save it again with -v7.3.")
    with opened(path) as file:
        loc = file["saveloc/loc"]
        sizes = {name: loc[name].size for name in loc if loc[name].ndim == 2}
        stored = _stored_pixel_size(file["saveloc"])
        size = _stored_size(file["saveloc"])
    for name in ("xnm", "ynm", "frame"):
        if name not in sizes:
            raise TableError(f"{path} has no saveloc.loc.{name}; expected a file of SMAP with fitted positions in nm.")
    num_rows = sizes["xnm"]

    def read_vectors(wanted: Sequence[str], texts: Collection[str], rows_at_once: int) -> Iterator[Columns]:
        with opened(path) as file:
            loc = file["saveloc/loc"]
            for part in slices(num_rows, rows_at_once):
                yield {name: _part_of(loc[name], part) for name in wanted}

    return ForeignTable(
        tuple(name for name, size in sizes.items() if size == num_rows),
        read_vectors,
        layout=LAYOUT,
        pixel_size=stored,
        size=size,
    )


def _part_of(vector: Any, part: slice) -> npt.NDArray[Any]:
    """Return a part of a MATLAB row or column vector."""
    return np.asarray(vector[0, part] if vector.shape[0] == 1 else vector[part, 0])


def _stored_pixel_size(saveloc: Any) -> PixelSize | None:
    """Return the pixel size of the movie; None if there are several movies, whose sizes are behind references."""
    info = saveloc.get("file/info")
    if info is None or not hasattr(info, "keys") or "cam_pixelsize_um" not in info:
        return None
    size_um = np.asarray(info["cam_pixelsize_um"], dtype=np.float64).ravel()
    if size_um.size == 0 or not np.all(np.isfinite(size_um)) or size_um.min() <= 0:
        return None
    return stated_pixel_size(1000 * float(size_um[0]), 1000 * float(size_um[-1]))


def _stored_size(saveloc: Any) -> DatasetSize:
    """Return size and number of the movie's frames; no size for a region of interest, which moves its rows itself."""
    info = saveloc.get("file/info")
    if info is None or not hasattr(info, "keys"):
        return DatasetSize()

    def number(name: str) -> float:
        values = np.asarray(info.get(name, []), dtype=np.float64).ravel()
        return float(values[0]) if values.size else math.nan

    region = np.asarray(info.get("roi", [0, 0]), dtype=np.float64).ravel()
    names = {"width": "Width", "height": "Height", "num_frames": "numberOfFrames"}
    if np.any(region[:2] != 0):
        names = {"num_frames": "numberOfFrames"}
    found = {ours: number(name) for ours, name in names.items()}
    return DatasetSize(**{name: int(value) for name, value in found.items() if math.isfinite(value) and value >= 1})
