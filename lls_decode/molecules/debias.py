"""Removal of sub-pixel position bias by histogram equalisation.

Uncertain networks place emitters too close to the centres of pixels (Speiser et al. 2021, Methods and Extended Data
Fig. 8). The true sub-pixel positions of molecules are uniformly distributed, so any deviation of the histogram of
measured positions from uniform is bias. A monotonic map, the cumulative distribution of the histogram, makes the
positions uniform and removes the bias (the single-pixel interior filling function of Burov et al., PNAS 114, 221
(2017)). The bias grows with the uncertainty, so each axis is treated in bins of predicted sigma.

Even unbiased positions give a histogram with counting noise. Each harmonic of the histogram is reduced by the expected
noise, and insignificant harmonics are dropped, so that unbiased positions do not change. A histogram cannot show a
shift that is common to all positions; the mean shift of the map is therefore zero.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.config import Geometry, PixelSize
from lls_decode.errors import ConfigError, TableError
from lls_decode.table import TableMetadata, iter_tables, read_metadata, read_schema, software_versions, table_writer

Floats = npt.NDArray[np.float64]

PARTS = 40
"""Number of histogram bins across a pixel."""
SIGMA_BINS = 12
_ROWS_PER_BIN = 5_000
_STEP = "debias"
_LOG_SIGMA = np.linspace(np.log(1e-3), np.log(10), 201)
"""Edges of fine sigma bins, log of pixels, which are merged into bins with equal numbers of rows."""
_SIGNIFICANT = 12.0
"""Power of a harmonic, relative to counting noise, above which the harmonic is significant. Noise alone exceeds it in 6
of a million harmonics; a table has a few hundred."""


@dataclass(frozen=True)
class AxisMap:
    """Position correction along one axis, as a function of sub-pixel position and sigma."""

    sigma_px: Floats
    """Borders between the sigma bins, ``(S - 1,)``."""
    shift_SE: Floats
    """Shifts in pixels at the edges of the sub-pixel bins, from -0.5 to 0.5, ``(S, PARTS + 1)``."""

    @classmethod
    def from_counts(cls, counts_SP: npt.NDArray[np.int64], log_sigma_S: Floats) -> "AxisMap":
        """Create a map from sub-pixel histograms, one per sigma bin, and from the log borders between these bins."""
        return cls(np.exp(log_sigma_S), np.stack([equalizing_shift(counts_P) for counts_P in counts_SP]))

    def shift_px(self, place_px: Floats, sigma_px: Floats) -> Floats:
        """Return the shift of each position in pixels; 0 for positions that are not finite."""
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            part = place_px - np.floor(place_px + 0.5)
        row = np.searchsorted(self.sigma_px, sigma_px, side="right")
        place = (np.nan_to_num(part) + 0.5) * PARTS
        left = np.minimum(place.astype(np.int64), PARTS - 1)
        share = place - left
        shift = self.shift_SE[row, left] * (1 - share) + self.shift_SE[row, left + 1] * share
        return np.where(np.isfinite(part), shift, 0.0)

    @property
    def largest_px(self) -> float:
        """Largest absolute shift in pixels."""
        return float(np.abs(self.shift_SE).max())


def equalizing_shift(counts_P: npt.NDArray[np.int64]) -> Floats:
    """Return the shifts in pixels at the bin edges, ``(P + 1,)``, that make a sub-pixel histogram uniform.

    A harmonic whose power is ``a`` times that of Poisson noise is scaled by 1 - 1 / a (James-Stein shrinkage), and set
    to zero when a is below `_SIGNIFICANT`.
    """
    mean = counts_P.mean()
    if mean == 0:
        return np.zeros(len(counts_P) + 1)
    harmonics = np.fft.rfft(counts_P / mean - 1)
    power = np.abs(harmonics) ** 2 * mean / len(counts_P)
    harmonics *= np.where(power > _SIGNIFICANT, 1 - 1 / np.maximum(power, 1), 0)
    density_P = np.maximum(1 + np.fft.irfft(harmonics, n=len(counts_P)), 0)
    excess_P = density_P / density_P.mean() - 1
    shift = np.concatenate([[0.0], np.cumsum(excess_P)]) / len(counts_P)
    # mean over the positions: each bin is weighted by its share of the rows
    mean_shift = np.average((shift[1:] + shift[:-1]) / 2, weights=1 + excess_P)
    return np.asarray(shift - mean_shift)


@dataclass(frozen=True)
class Debiased:
    """Written table and the position corrections along x and y."""

    path: Path
    maps: tuple[AxisMap, AxisMap]
    rms_shift_nm: tuple[float, float]


def debias(table: str | Path, out: str | Path, *, pixel_size: PixelSize | None = None) -> Debiased:
    """Remove the sub-pixel bias from the positions of a table; x, y and the sample coordinates change.

    The histograms include all rows, so the table must have many molecules all over the field. Positions must still be
    the original camera coordinates: run this before drift correction and before linking.

    Parameters
    ----------
    out
        Path of the new table, written aside and then renamed; may be the input table.
    pixel_size
        Pixel size of the camera; None: the pixel size in the table's metadata.

    Raises
    ------
    ConfigError
        The pixel size is unknown.
    TableError
        The table cannot be read, or its positions are no longer the original camera coordinates.
    OutputError
        The disk is full, or the folder is read-only.
    """
    table, out = Path(table), Path(out)
    metadata = read_metadata(table)
    _check_untouched(table, metadata)
    pixel = pixel_size or metadata.pixel_size
    if pixel is None:
        raise ConfigError(f"The metadata of {table} have no pixel size; give pixel_size (--pixel-nm).")
    maps = measure_maps(table, pixel)
    metadata = metadata.with_step(
        _STEP,
        largest_shift_nm=[maps[0].largest_px * pixel.x_nm, maps[1].largest_px * pixel.y_nm],
        software=software_versions(),
    )
    squares, num = np.zeros(2), 0
    with table_writer(out, read_schema(table), metadata) as writer:
        for rows in iter_tables(table):
            shift_2N = np.stack([_shift_nm(rows, *which) for which in zip("xy", maps, _sizes(pixel), strict=True)])
            squares, num = squares + (shift_2N**2).sum(axis=1), num + rows.num_rows
            writer.write(_moved(rows, shift_2N, metadata.geometry))
    x, y = np.sqrt(squares / max(num, 1)).tolist()
    return Debiased(out, maps, (x, y))


def measure_maps(table: Path, pixel: PixelSize) -> tuple[AxisMap, AxisMap]:
    """Measure the correction maps along x and y in one pass over the rows."""
    counts = np.zeros((2, len(_LOG_SIGMA) + 1, PARTS), dtype=np.int64)
    for rows in iter_tables(table, ["x_nm", "y_nm", "x_sig", "y_sig"]):
        for axis, (name, size_nm) in enumerate(zip("xy", _sizes(pixel), strict=True)):
            place, sigma = _pixels(rows, name, size_nm)
            known = np.isfinite(place)
            part = place[known] + 0.5
            part = np.minimum(((part - np.floor(part)) * PARTS).astype(np.int64), PARTS - 1)
            fine = np.searchsorted(_LOG_SIGMA, np.log(sigma[known]), side="right")
            counts[axis] += np.bincount(fine * PARTS + part, minlength=counts[axis].size).reshape(counts[axis].shape)
    x, y = (AxisMap.from_counts(*_joined(counts_FP)) for counts_FP in counts)
    return x, y


def _joined(counts_FP: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Floats]:
    """Merge neighbouring fine sigma bins until each has its share of the rows; return counts and borders."""
    rows_F = counts_FP.sum(axis=1)
    wanted = max(rows_F.sum() / SIGMA_BINS, _ROWS_PER_BIN)
    bins: list[npt.NDArray[np.int64]] = []
    borders: list[float] = []
    begin = 0
    for end in range(1, len(rows_F) + 1):
        enough_left = rows_F[end:].sum() >= wanted
        if end == len(rows_F) or (enough_left and rows_F[begin:end].sum() >= wanted):
            bins.append(counts_FP[begin:end].sum(axis=0))
            borders.append(_LOG_SIGMA[min(end - 1, len(_LOG_SIGMA) - 1)])
            begin = end
    return np.stack(bins), np.array(borders[:-1])


def _check_untouched(table: Path, metadata: TableMetadata) -> None:
    if metadata.kind != "localizations":
        raise TableError(f"{table} is a table of {metadata.kind}; give the table of localizations that it came from.")
    for step in ("drift", "link", "register"):
        if metadata.steps(step):
            raise TableError(
                f"{table} has been processed by {step!r}, but debias needs the original camera positions; run debias "
                f"before {step!r}."
            )


def _sizes(pixel: PixelSize) -> tuple[float, float]:
    return pixel.x_nm, pixel.y_nm


def _pixels(rows: pa.Table, axis: str, size_nm: float) -> tuple[Floats, Floats]:
    """Return position and sigma in pixels; an unknown sigma is infinite."""
    place = rows[f"{axis}_nm"].to_numpy().astype(np.float64) / size_nm
    sigma = rows[f"{axis}_sig"].to_numpy().astype(np.float64) / size_nm
    return place, np.where(sigma > 0, sigma, np.inf)


def _shift_nm(rows: pa.Table, axis: str, moves: AxisMap, size_nm: float) -> Floats:
    return moves.shift_px(*_pixels(rows, axis, size_nm)) * size_nm


def _moved(rows: pa.Table, shift_2N: Floats, geometry: Geometry | None) -> pa.Table:
    shifts = {"x_nm": shift_2N[0], "y_nm": shift_2N[1]}
    if geometry is not None and "xs_nm" in rows.column_names:
        # sample coordinates are linear in camera coordinates, so the shift transforms like a position
        sample = geometry.to_sample(shift_2N[0], shift_2N[1], np.zeros(rows.num_rows), 0)
        shifts |= dict(zip(("xs_nm", "ys_nm", "zs_nm"), sample, strict=True))
    for name, shift in shifts.items():
        place = rows.schema.get_field_index(name)
        field = rows.schema.field(place)
        values = (rows[name].to_numpy().astype(np.float64) + shift).astype(np.float32)
        rows = rows.set_column(place, field, pa.array(values, type=field.type))
    return rows
