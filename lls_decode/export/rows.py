"""A table prepared for export: in one coordinate system, surveyed once, then streamed.

Localizations and molecules are treated alike. Molecules have some more columns, no plane, and positions in the deskewed
coordinates of plane 0. Every format writes from an `ExportTable`; the origin, units and names of a format are in its
own module.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError, TableError
from lls_decode.export.field import DatasetSize, Field, Tilt, field_of
from lls_decode.table import iter_tables, read_metadata, read_schema, sorted_aside
from lls_decode.table.sorting import BY_FRAME

Coords = Literal["raw", "deskewed", "sample"]
Floats = npt.NDArray[np.float64]
Rows = Mapping[str, npt.NDArray[Any]]
"""Columns of equal length by our names: float64 for measured ones, int64 for counts."""

MEASURED = ("x_nm", "y_nm", "z_nm", "photons", "bg", "x_sig", "y_sig", "z_sig", "phot_sig", "prob")
LINKED = ("last_frame", "num_frames", "num_planes", "num_volumes")
"""Counts that only molecules have."""
COUNTED = ("frame", "volume", "plane", "group", "channel", *LINKED)
EXPORTED = (*COUNTED, *MEASURED, "prob_any")
"""Columns that formats may be able to store."""
_REQUIRED = ("frame", "x_nm", "y_nm")


@dataclass(frozen=True)
class Survey:
    """Statistics of all rows, from one pass over the table."""

    num_rows: int
    low: Mapping[str, float]
    """Smallest known value by column; inf without known values."""
    high: Mapping[str, float]
    num_known: Mapping[str, int]
    """Number of rows with a known value, by column; 0 for columns that the table lacks."""
    frames_ascend: bool
    num_imprecise: int
    """Number of rows whose lateral sigma is above `IMPRECISE_NM`."""


IMPRECISE_NM = 250.0
"""Lateral sigma above which SMAP drops rows on loading."""


class ExportTable:
    """Rows of a table in one coordinate system.

    With ``coords="sample"``, positions and sigmas are along the axes of the sample. They keep the names ``x_nm`` ...
    ``z_sig``, since other programs know only one coordinate system.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        coords: Coords | Literal["auto"] = "auto",
        pixel_size: PixelSize | None = None,
        psf_sigma_nm: float | None = None,
        size: DatasetSize | None = None,
        first_px: tuple[int, int] | None = None,
    ) -> None:
        self.path = Path(path)
        self.metadata = read_metadata(path)
        present = self.metadata.columns
        for name in _REQUIRED:
            if name not in present:
                raise TableError(f"{path} has no column {name!r}, which every other program needs.")
        self._geometry = self.metadata.geometry
        self._has_sample = all(f"{axis}s_nm" in present for axis in "xyz")
        self.coords: Coords = self._choose(coords)
        self.columns = tuple(name for name in present if name in EXPORTED)
        """Columns that rows of `pieces` have, in the order of the table."""
        self._stored = list(self.columns)
        if self.coords == "sample" and self._has_sample:
            self._stored += ["xs_nm", "ys_nm", "zs_nm"]
        self._pixel_size = pixel_size or self.metadata.pixel_size
        self._psf_sigma_nm = psf_sigma_nm
        self._size = DatasetSize.of(self.metadata).but(size or DatasetSize())
        self._first_px = first_px

    @property
    def pixel_size(self) -> PixelSize:
        """Size of a camera pixel in the sample."""
        if self._pixel_size is None:
            raise ConfigError(
                f"{self.path} does not state the pixel size, which this format needs; give pixel_size (--pixel-nm)."
            )
        return self._pixel_size

    @property
    def psf_sigma_nm(self) -> tuple[float, float] | None:
        """Nominal sigma of the PSF along x and y: the given one, or that of the model; None if neither is known."""
        if self._psf_sigma_nm is not None:
            return self._psf_sigma_nm, self._psf_sigma_nm
        psf = self.metadata.model.get("psf") or {}
        sigma_nm = psf.get("sigma_nm")
        sigma_x_nm, sigma_y_nm = psf.get("sigma_x_nm", sigma_nm), psf.get("sigma_y_nm", sigma_nm)
        return None if sigma_x_nm is None or sigma_y_nm is None else (float(sigma_x_nm), float(sigma_y_nm))

    @property
    def is_molecules(self) -> bool:
        """Whether rows are molecules; else they are localizations."""
        return self.metadata.kind == "molecules"

    def pieces(self) -> Iterator[Rows]:
        """Give all rows in the order of the table, one row group at a time."""
        for table in iter_tables(self.path, self._stored):
            if table.num_rows:
                yield self._rows(table)

    @contextmanager
    def by_frame(self, out: Path) -> Iterator[Iterable[Rows]]:
        """Give all rows sorted by frame, some thousand at a time; rows of the same frame keep the order of the table.

        If rows are not in frame order (molecules, tables sorted by other programs), they are sorted by way of a
        temporary file beside ``out``.

        Raises
        ------
        OutputError
            Full disk, read-only folder.
        """
        if self.survey.frames_ascend:
            yield self.pieces()
            return
        found = read_schema(self.path)
        wanted = pa.schema([found.field(name) for name in self._stored])
        with sorted_aside(out, wanted, BY_FRAME) as sorter:
            for table in iter_tables(self.path, self._stored):
                sorter.add(table.select(self._stored))
            yield (self._rows(table) for table in sorter.pieces())

    def field(self, pixel: PixelSize) -> Field:
        """Return the part of the plane that the dataset's frames show, in pixels of the given size."""
        planes = self.metadata.planes_per_volume or int(max(0.0, self.survey.high["plane"])) + 1
        low_nm, high_nm = self.metadata.model.get("z_range_nm") or (0.0, 0.0)
        tilt = None
        if self._geometry is not None and self.coords != "raw":
            tilt = Tilt(self._geometry, self.coords == "sample", planes, (low_nm, high_nm))
        return field_of(
            self._size,
            pixel=pixel,
            camera_pixel=self.pixel_size,
            tilt=tilt,
            first_px=self._first_px,
            highest=self.survey.high,
            source=self.path.name,
        )

    @cached_property
    def survey(self) -> Survey:
        """Statistics from one pass over the table."""
        low, high = dict.fromkeys(EXPORTED, math.inf), dict.fromkeys(EXPORTED, -math.inf)
        num_known = dict.fromkeys(EXPORTED, 0)
        num_rows, num_imprecise, frames_ascend, last_frame = 0, 0, True, -1
        for rows in self.pieces():
            num_rows += len(rows["frame"])
            for name, values in rows.items():
                known = values[np.isfinite(values)]
                num_known[name] += len(known)
                if len(known):
                    low[name] = min(low[name], float(known.min()))
                    high[name] = max(high[name], float(known.max()))
            frame = rows["frame"]
            frames_ascend &= last_frame <= frame[0] and bool(np.all(frame[1:] >= frame[:-1]))
            last_frame = int(frame[-1])
            if "x_sig" in rows and "y_sig" in rows:
                num_imprecise += int(np.count_nonzero(lateral_sigma(rows) > IMPRECISE_NM))
        return Survey(num_rows, low, high, num_known, frames_ascend, num_imprecise)

    def knows(self, *names: str) -> bool:
        """Return whether each of these columns has a known value in at least one row."""
        return all(self.survey.num_known[name] > 0 for name in names)

    def require(self, *names: str, reason: str) -> None:
        """Refuse a table in which one of these columns is not known in every row.

        Raises
        ------
        TableError
            The message states the column, the number of rows without it, and ``reason``.
        """
        for name in names:
            missing = self.survey.num_rows - self.survey.num_known[name]
            if missing:
                raise TableError(
                    f"{self.path} has no {name} in {missing} of {self.survey.num_rows} rows, but {reason}; choose "
                    "another format, or filter the table first."
                )

    @property
    def has_groups(self) -> bool:
        """Whether any row is linked."""
        return self.survey.num_known["group"] > 0 and self.survey.high["group"] >= 0

    def _choose(self, coords: Coords | Literal["auto"]) -> Coords:
        located = self._has_sample or (self._geometry is not None and self._has_volume())
        if coords == "auto":
            return "sample" if located else "raw"
        if coords == "sample" and not located:
            raise ConfigError(
                f"{self.path} has no sample coordinates (the geometry was not known when it was made); use raw "
                "coordinates."
            )
        if coords == "deskewed" and (self._geometry is None or not self._has_volume()):
            raise ConfigError(
                f"{self.path} cannot be deskewed (its geometry or its planes are not known); use raw coordinates."
            )
        if coords == "raw" and self.is_molecules and self._geometry is not None:
            raise ConfigError(
                f"{self.path} has molecules of several planes, which have no raw coordinates; use deskewed or sample "
                "coordinates."
            )
        return coords

    def _has_volume(self) -> bool:
        return "z_nm" in self.metadata.columns and (self.is_molecules or "plane" in self.metadata.columns)

    def _rows(self, table: pa.Table) -> Rows:
        def values(name: str) -> npt.NDArray[Any]:
            return np.asarray(table[name].to_numpy(), dtype=np.int64 if name in COUNTED else np.float64)

        rows = {name: values(name) for name in self._stored}
        if self.coords == "raw":
            return rows
        if self.coords == "sample" and self._has_sample:
            position = tuple(rows.pop(f"{axis}s_nm") for axis in "xyz")
        else:
            assert self._geometry is not None
            move = self._geometry.to_sample if self.coords == "sample" else self._geometry.to_deskewed
            plane = 0 if self.is_molecules else rows["plane"]
            position = move(rows["x_nm"], rows["y_nm"], rows["z_nm"], plane)
        rows |= dict(zip(("x_nm", "y_nm", "z_nm"), position, strict=True))
        if self.coords == "sample" and self._geometry is not None:
            along = f"{self._geometry.propagation_axis}_sig"
            if along in rows and "z_sig" in rows:
                rows[along], rows["z_sig"] = self._geometry.sample_sigmas(rows[along], rows["z_sig"])
        return rows


def lateral_sigma(rows: Rows) -> Floats:
    """Return the root mean square of the sigmas along x and y, nm, which SMAP and ThunderSTORM store as one number."""
    return np.asarray(np.sqrt((rows["x_sig"] ** 2 + rows["y_sig"] ** 2) / 2))
