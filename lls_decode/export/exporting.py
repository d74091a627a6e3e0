"""Export of our tables to files of other programs. Each format is one module and one entry of `FORMATS`."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError, TableError
from lls_decode.export.field import DatasetSize
from lls_decode.export.formats import decode, neuroglancer, picasso, plain, smap, smlm, thunderstorm
from lls_decode.export.rows import Coords, ExportTable
from lls_decode.export.text import MAX_ROWS
from lls_decode.export.written import Written, left_out
from lls_decode.outputs import guarded

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Format:
    """A file format that can be written."""

    write: Callable[[ExportTable, Path], Written]
    suffix: str
    """Ending of its files. If no format is named, the first format whose ending matches ``out`` is taken."""
    max_rows: int | None = None
    """Largest number of rows that is written without being forced; None: no limit."""
    has_field: bool = False
    """Whether its files state the size and the number of the dataset's frames."""
    comes_back: bool = True
    """Whether `import` reads its files; False: the format is for viewing only."""


FORMATS: Final = {
    "smap": Format(smap.write, smap.SUFFIX, has_field=True),
    "picasso": Format(picasso.write, ".hdf5", has_field=True),
    "decode": Format(decode.write_h5, ".h5"),
    "smlm": Format(smlm.write, ".smlm"),
    "neuroglancer": Format(neuroglancer.write, neuroglancer.SUFFIX, comes_back=False),
    "csv": Format(plain.write, ".csv", MAX_ROWS),
    "thunderstorm": Format(thunderstorm.write, ".csv", MAX_ROWS),
    "decode-csv": Format(decode.write_csv_file, ".csv", MAX_ROWS),
}


@dataclass(frozen=True)
class Exported:
    """Result of an export."""

    path: Path
    format: str
    coords: Coords
    rows: int
    kind: str
    """Kind of the rows: ``localizations`` or ``molecules``."""
    left_out: Mapping[str, str]
    """Columns of the table that are not in the file, with the reason for each."""
    notes: tuple[str, ...]
    """What was assumed, and what the other program will not show, in words."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**asdict(self), "path": str(self.path), "notes": list(self.notes)}


@guarded
def export_table(
    table: str | Path,
    out: str | Path,
    *,
    format: str | None = None,
    coords: Coords | Literal["auto"] = "auto",
    pixel_size: PixelSize | None = None,
    psf_sigma_nm: float | None = None,
    size: tuple[int, int] | None = None,
    num_frames: int | None = None,
    first_px: tuple[int, int] | None = None,
    force: bool = False,
) -> Exported:
    """Write a table of localizations or molecules to a file of another program, with constant memory.

    Rows are sorted by frame if the other program expects this.

    Parameters
    ----------
    out
        Path of the file. It is written aside and renamed, so it appears whole or not at all. See
        `lls_decode.table.files.written_aside` for what may be replaced.
    format
        Name in `FORMATS`; None: chosen by the ending of ``out``.
    coords
        ``raw`` camera coordinates, ``deskewed`` coordinates, ``sample`` coordinates, or ``auto``: sample coordinates if
        the geometry is known, else raw ones.
    pixel_size
        Pixel size of the camera; None: taken from the table.
    psf_sigma_nm
        Nominal sigma of the PSF, for formats with a column for it. None: taken from the model.
    size
        Width and height of the dataset's frames, pixels, for formats that state them (SMAP, Picasso). None: taken from
        the table, or from the extent of its rows, with a warning, if the table does not state them.
    num_frames
        Number of frames of the dataset, with the same default.
    first_px
        Pixel along x and y with which the picture of such a format begins. None: (0, 0), or the beginning of the first
        plane in deskewed or sample coordinates of tilted planes.
    force
        Write a text file even if it has more rows than most programs can open.

    Raises
    ------
    ConfigError
        Unknown format, coordinates that the table does not have, unknown pixel size, too many rows for a text file, or
        a size for a format that does not state one.
    TableError
        The table cannot be read, or the format cannot represent it.
    OutputError
        Full disk, read-only folder.
    """
    out = Path(out)
    name = format or _by_ending(out)
    if name not in FORMATS:
        raise ConfigError(f"{name!r} is not a format that can be written; choose one of {', '.join(FORMATS)}.")
    if (size, num_frames, first_px) != (None, None, None) and not FORMATS[name].has_field:
        known = ", ".join(name for name, kind in FORMATS.items() if kind.has_field)
        raise ConfigError(f"{name} does not store the size of a dataset; omit it, or choose one of {known}.")
    source = ExportTable(
        table,
        coords=coords,
        pixel_size=pixel_size,
        psf_sigma_nm=psf_sigma_nm,
        size=_size(size, num_frames),
        first_px=first_px,
    )
    if out.exists() and out.samefile(source.path):
        raise ConfigError(f"{out} is the table itself; choose another name.")
    rows, largest = source.survey.num_rows, FORMATS[name].max_rows
    if largest is not None and rows > largest and not force:
        raise ConfigError(
            f"{source.path} has {rows} rows, which take about {rows * 110 / 1e9:.0f} GB as text; few programs open "
            f"that many (the limit is {largest}); filter the table, choose a binary format, or force it."
        )
    if not rows:
        raise TableError(f"{source.path} has no rows, so there is nothing to write.")
    unplaced = rows - source.survey.num_known["x_nm"], rows - source.survey.num_known["y_nm"]
    if any(unplaced):
        raise TableError(
            f"{source.path} has {max(unplaced)} of {rows} rows without a position; filter the table first."
        )
    written = FORMATS[name].write(source, out)
    for note in written.notes:
        _logger.warning("%s.", note)
    return Exported(
        out, name, source.coords, rows, source.metadata.kind, left_out(source, written, name), written.notes
    )


def _size(size: tuple[int, int] | None, num_frames: int | None) -> DatasetSize:
    width, height = size or (None, None)
    for number in (width, height, num_frames):
        if number is not None and number < 1:
            raise ConfigError(f"The given dataset size has {number} pixels or frames; expected 1 or more.")
    return DatasetSize(width, height, num_frames)


def _by_ending(out: Path) -> str:
    for name, kind in FORMATS.items():
        if out.name.endswith(kind.suffix):
            return name
    endings = ", ".join(dict.fromkeys(kind.suffix for kind in FORMATS.values()))
    raise ConfigError(f"{out} does not end like any format ({endings}); change its ending, or name the format.")
