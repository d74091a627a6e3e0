"""Our table as other programs' files. A format is one module and one line here."""

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
    """One kind of file that is written."""

    write: Callable[[ExportTable, Path], Written]
    suffix: str
    """How its files end; the first format with the ending of ``out`` is taken when none is named."""
    max_rows: int | None = None
    """More are refused unless forced."""
    has_field: bool = False
    """Its files say how large the frames of the dataset are, and how many."""
    comes_back: bool = True
    """`import` reads its files; False: a form for viewing, of what the table holds."""


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
    """What an export has made."""

    path: Path
    format: str
    coords: Coords
    rows: int
    kind: str
    """What a row is: ``localizations`` or ``molecules``."""
    left_out: Mapping[str, str]
    """Why a column of the table is not in the file, by its name."""
    notes: tuple[str, ...]
    """What was assumed, and what the other program will not show."""

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
    """Write a table of localizations or molecules as the file of another program, with constant memory.

    Rows are sorted by frame where the other program expects that.

    Parameters
    ----------
    out
        Written aside and renamed: it appears whole or not at all. What may be replaced, says
        `lls_decode.table.files.written_aside`.
    format
        A name of `FORMATS`; None: by the ending of ``out``.
    coords
        ``raw`` camera coordinates, ``deskewed``, those of the ``sample``, or ``auto``: of the sample where the geometry
        is known, else raw.
    pixel_size
        None: what the table says.
    psf_sigma_nm
        Nominal width of the PSF, a column of some formats. None: what the model says.
    size
        Width and height of the frames of the dataset, pixels, for formats that state them (SMAP, Picasso). None: what
        the table says; of one that does not, as far as its rows reach, with a warning.
    num_frames
        Frames of the dataset. None: likewise.
    first_px
        Pixel along x and y with which the picture of such a format begins. None: (0, 0); in coordinates of tilted
        planes, where the first of them begins.
    force
        Write a text of more rows than can be opened comfortably.

    Raises
    ------
    ConfigError
        Unknown format, no such coordinates, pixel size not known, too many rows for a text, a size for a format that
        has no place for it.
    TableError
        The table cannot be read, or the format cannot hold it.
    OutputError
        Full disk, read-only folder.
    """
    out = Path(out)
    name = format or _by_ending(out)
    if name not in FORMATS:
        raise ConfigError(f"{name!r} is not a format that can be written; choose one of {', '.join(FORMATS)}.")
    if (size, num_frames, first_px) != (None, None, None) and not FORMATS[name].has_field:
        known = ", ".join(name for name, kind in FORMATS.items() if kind.has_field)
        raise ConfigError(f"{name} has no place for the size of a dataset; leave it out, or choose one of {known}.")
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
            f"{source.path} has {rows} rows, which as text take about {rows * 110 / 1e9:.0f} GB and open in few "
            f"programs (the limit is {largest}); filter it, choose a binary format, or force it."
        )
    if not rows:
        raise TableError(f"{source.path} has no rows, so that there is nothing to write.")
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
            raise ConfigError(f"A dataset of {number} pixels or frames was given; expected 1 or more.")
    return DatasetSize(width, height, num_frames)


def _by_ending(out: Path) -> str:
    for name, kind in FORMATS.items():
        if out.name.endswith(kind.suffix):
            return name
    endings = ", ".join(dict.fromkeys(kind.suffix for kind in FORMATS.values()))
    raise ConfigError(f"{out} has an ending that no format has ({endings}); change it, or name the format.")
