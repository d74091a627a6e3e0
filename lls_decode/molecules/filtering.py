"""Filtering of tables: by conditions on columns, by precision, and by the number of neighbours."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import and_
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.axes import IndexRange, range_text
from lls_decode.errors import ConfigError, TableError
from lls_decode.molecules.condition import parse_condition
from lls_decode.molecules.density import Bits, crowded, marked
from lls_decode.molecules.positions import place_columns
from lls_decode.molecules.selection import Selection
from lls_decode.molecules.sigma_quantile import SIGMAS, combined_sigma, sigma_quantile
from lls_decode.table import count_rows, read_metadata, read_schema, software_versions, table_writer

Floats = npt.NDArray[np.float64]

_STEP = "filter"
_SMALLEST = 1e-18
"""Share of rows small enough to select a single row of a table of any size."""


@dataclass(frozen=True)
class Filtered:
    """Result of a filter."""

    path: Path
    num_rows: int
    """Number of rows of the input table."""
    num_kept: int
    row_groups_read: int
    """Number of row groups that were read; the statistics of the others exclude matching rows."""
    row_groups: int
    sigma_max_nm: float | None
    """Limit of the combined sigma when ``best`` was given, otherwise None."""


def filter_table(
    table: str | Path,
    out: str | Path,
    *,
    where: str | None = None,
    volumes: IndexRange | None = None,
    planes: IndexRange | None = None,
    best: float | None = None,
    min_neighbours: int | None = None,
    radius_nm: float | None = None,
) -> Filtered:
    """Keep the rows of a table (of localizations or molecules) that meet all conditions, in their original order.

    Parameters
    ----------
    where
        A condition on columns (`parse_condition`), e.g. ``x_sig < 30 and prob > 0.8``.
    volumes, planes
        First index to keep, and the index after the last; None: from the beginning, or to the end.
    best
        Share, 0 to 1, of the rows that meet the conditions above to keep: those with the smallest combined sigma (root
        of the sum of squares along x, y, z). The quantile is exact (`sigma_quantile`); equal sigmas are kept together.
    min_neighbours, radius_nm
        Keep rows with at least this many other rows within this radius, regardless of time. Neighbours are counted
        among the rows that meet the conditions above, in 3-D where z is known.
    out
        Path of the new table, written aside and then renamed; may be the input table.

    Raises
    ------
    ConfigError
        There is no condition, a condition cannot be parsed, or a column is unknown.
    TableError
        The table cannot be read.
    OutputError
        The disk is full, or the folder is read-only.
    """
    table, out = Path(table), Path(out)
    metadata, schema = read_metadata(table), read_schema(table)
    _check(best, min_neighbours, radius_nm)
    conditions = [] if where is None else [parse_condition(where, schema)]
    conditions += [
        parse_condition(condition, schema)
        for name, bounds in (("volume", volumes), ("plane", planes))
        for condition in _range_conditions(name, bounds)
    ]
    if not conditions and best is None and min_neighbours is None:
        raise ConfigError(
            "No condition was given; give at least one, e.g. --where 'x_sig < 30', --best 0.5 or --volumes 0:100."
        )
    selection = Selection(table, reduce(and_, conditions) if conditions else None)
    kept = _Kept(selection, None if best is None else _largest_of_best(selection, schema, best))
    if min_neighbours is not None and radius_nm is not None:
        places = partial(kept.places, place_columns(table, metadata))
        kept.crowded = crowded(places, min_neighbours=min_neighbours, radius_nm=radius_nm)
    settings = {
        "where": where, "volumes": volumes, "planes": planes, "best": best, "sigma_max_nm": kept.sigma_max_nm,
        "min_neighbours": min_neighbours, "radius_nm": radius_nm,
    }  # fmt: skip
    details = {name: value for name, value in settings.items() if value is not None}
    num_rows = count_rows(table)
    metadata = metadata.with_step(_STEP, **details, rows_before=num_rows, software=software_versions())
    with table_writer(out, schema, metadata) as writer:
        for piece in kept.pieces():
            writer.write(piece)
    return Filtered(out, num_rows, writer.rows, len(selection.row_groups), selection.num_row_groups, kept.sigma_max_nm)


def _range_conditions(name: str, bounds: IndexRange | None) -> list[str]:
    """Write a range of indices as conditions on a column; an open end gives no condition."""
    if bounds is None:
        return []
    start, stop = bounds
    if min(bound for bound in (start, stop, 0) if bound is not None) < 0 or (stop is not None and stop <= (start or 0)):
        raise ConfigError(
            f"{name}s {range_text(bounds)} is empty or negative; expected START:STOP with the end excluded, from 0."
        )
    return [f"{name} >= {start or 0}", *([] if stop is None else [f"{name} < {stop}"])]


class _Kept:
    """Rows that pass the conditions determined so far."""

    def __init__(self, selection: Selection, sigma_max_nm: float | None) -> None:
        self._selection = selection
        self._limit = sigma_max_nm
        self.crowded: Bits | None = None
        """Bits that mark rows with enough neighbours, among those that meet the other conditions; None: keep all."""

    @property
    def sigma_max_nm(self) -> float | None:
        """Largest combined sigma to keep; None where there is no limit, or where no row has a sigma."""
        return self._limit if self._limit is not None and math.isfinite(self._limit) else None

    def places(self, columns: Sequence[str]) -> Iterator[Floats]:
        """Yield the positions (3, N) of the rows that meet all conditions except the number of neighbours.

        An unknown z is 0.
        """
        for rows in self._precise(columns):
            x, y, z = (rows[name].to_numpy().astype(np.float64) for name in columns)
            yield np.stack([x, y, np.where(np.isfinite(z), z, 0.0)])

    def pieces(self) -> Iterator[pa.Table]:
        """Yield all columns of the kept rows."""
        first = 0
        for rows in self._precise(None):
            if self.crowded is None:
                yield rows
            else:
                yield rows.filter(pa.array(marked(self.crowded, first, rows.num_rows)))
            first += rows.num_rows

    def _precise(self, columns: Sequence[str] | None) -> Iterator[pa.Table]:
        if self._limit is None:
            yield from self._selection.pieces(columns)
            return
        for rows in self._selection.pieces(None if columns is None else [*columns, *SIGMAS]):
            sigma = combined_sigma(rows)
            yield rows.filter(pa.array((sigma <= self._limit) & np.isfinite(sigma)))


def _largest_of_best(selection: Selection, schema: pa.Schema, best: float) -> float:
    """Return the combined sigma that a share ``best`` of the rows does not exceed.

    NaN without rows; infinite where too many sigmas are unknown.
    """
    missing = [name for name in SIGMAS if name not in schema.names]
    pieces = partial(selection.pieces, SIGMAS)
    limit = math.inf if missing else sigma_quantile(pieces, best)
    if missing or (math.isinf(limit) and math.isinf(sigma_quantile(pieces, _SMALLEST))):
        found = f"no column {', '.join(missing)}" if missing else "no row whose sigmas along x and y are known"
        raise TableError(
            f"{selection.path} has {found}, but --best chooses rows by their sigmas; omit --best, or filter by another "
            "column (--where)."
        )
    return limit


def _check(best: float | None, min_neighbours: int | None, radius_nm: float | None) -> None:
    if best is not None and not 0 < best <= 1:
        raise ConfigError(f"best is {best:g}; expected a share of the rows, above 0 and up to 1.")
    if (min_neighbours is None) != (radius_nm is None):
        raise ConfigError(
            "Only one of min_neighbours (--min-neighbours) and radius_nm (--radius-nm) was given; give both."
        )
    if min_neighbours is not None and min_neighbours < 1:
        raise ConfigError(f"min_neighbours is {min_neighbours}; expected 1 or more.")
    if radius_nm is not None and not 0 < radius_nm < math.inf:
        raise ConfigError(f"radius_nm is {radius_nm:g}; expected a positive number.")
