"""Our table as other programs' files. A format is one module and one line here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError, TableError
from lls_decode.export.formats import decode, neuroglancer, picasso, plain, smap, smlm, thunderstorm
from lls_decode.export.rows import Coords, ExportTable
from lls_decode.export.text import MAX_ROWS
from lls_decode.outputs import guarded


@dataclass(frozen=True)
class Format:
    """One kind of file that is written."""

    write: Callable[[ExportTable, Path], None]
    suffix: str
    """How its files end; the first format with the ending of ``out`` is taken when none is named."""
    max_rows: int | None = None
    """More are refused unless forced."""


FORMATS: Final = {
    "smap": Format(smap.write, smap.SUFFIX),
    "picasso": Format(picasso.write, ".hdf5"),
    "decode": Format(decode.write_h5, ".h5"),
    "smlm": Format(smlm.write, ".smlm"),
    "neuroglancer": Format(neuroglancer.write, neuroglancer.SUFFIX),
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


@guarded
def export_table(
    table: str | Path,
    out: str | Path,
    *,
    format: str | None = None,
    coords: Coords | Literal["auto"] = "auto",
    pixel_size: PixelSize | None = None,
    psf_sigma_nm: float | None = None,
    force: bool = False,
) -> Exported:
    """Write a table as the file of another program, a row group at a time, with constant memory.

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
    force
        Write a text of more rows than can be opened comfortably.

    Raises
    ------
    ConfigError
        Unknown format, no such coordinates, pixel size not known, too many rows for a text.
    TableError
        The table cannot be read, or the format cannot hold it.
    OutputError
        Full disk, read-only folder.
    """
    out = Path(out)
    name = format or _by_ending(out)
    if name not in FORMATS:
        raise ConfigError(f"{name!r} is not a format that can be written; choose one of {', '.join(FORMATS)}.")
    source = ExportTable(table, coords=coords, pixel_size=pixel_size, psf_sigma_nm=psf_sigma_nm)
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
    FORMATS[name].write(source, out)
    return Exported(out, name, source.coords, rows)


def _by_ending(out: Path) -> str:
    for name, kind in FORMATS.items():
        if out.name.endswith(kind.suffix):
            return name
    endings = ", ".join(dict.fromkeys(kind.suffix for kind in FORMATS.values()))
    raise ConfigError(f"{out} has an ending that no format has ({endings}); change it, or name the format.")
