"""Places of fiducial beads: given, or found as what is present in nearly every volume.

Molecules blink, beads do not. One pass over the table counts, on a lateral grid, the volumes in which something was
detected; memory is that of the grid.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter, uniform_filter

from lls_decode.documents import read_head
from lls_decode.drift.points import TableView
from lls_decode.errors import ConfigError, TableError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MAX_BEADS: Final = 12
"""Largest number of beads, those seen most often; more would need memory and add little precision."""
_MAX_CELLS: Final = 2**24


def find_beads(view: TableView, *, first_volume: int, last_volume: int, radius_nm: float, min_share: float) -> Floats:
    """Return the lateral places ``(B, 2)`` in nm at which something is seen in at least ``min_share`` of the volumes.

    Parameters
    ----------
    radius_nm
        Largest distance that a bead may move; also the size of the grid cells.
    min_share
        Required share of volumes, summed over neighbouring cells because a drifting bead moves from cell to cell.

    Raises
    ------
    TableError
        There is no such place, or the field of view is too large for the radius.
    """
    low, high = _extent(view)
    shape = tuple(int(n) for n in np.floor((high - low) / radius_nm).astype(np.int64) + 1)
    if math.prod(shape) > _MAX_CELLS:
        raise TableError(
            f"{view.path} covers {(high - low)[0] / 1000:.0f} x {(high - low)[1] / 1000:.0f} um, too large to search "
            f"for beads in cells of {radius_nm:g} nm; filter the table, or give a larger radius."
        )
    seen = np.zeros(shape, dtype=np.int64)
    last_seen = np.full(math.prod(shape), -1, dtype=np.int64)
    for rows in view.pieces():
        place = view.positions(rows)[:, :2]
        known = np.isfinite(place).all(axis=1)
        index = ((place[known] - low) / radius_nm).astype(np.int64)
        cell = np.ravel_multi_index(tuple(index.T), shape, mode="clip")
        _count_volumes(cell, rows["volume"].to_numpy()[known].astype(np.int64), seen.reshape(-1), last_seen)
    share = seen / (last_volume - first_volume + 1)
    # a bead on the border of two cells, or drifting over several, is in each of them only part of the time
    around = np.minimum(uniform_filter(share, 3, mode="constant") * 9, 1.0)
    peaks = (maximum_filter(share, 5, mode="constant") == share) & (around >= min_share) & (share > 0)
    order = np.argsort(-around[peaks], kind="stable")[:MAX_BEADS]
    found = np.argwhere(peaks)[order]
    if not len(found):
        raise TableError(
            f"{view.path} has no place at which something is seen in {min_share:.0%} of the volumes (the largest share "
            f"is {around.max():.0%}); give places of beads, a smaller share, or measure the drift by correlation."
        )
    return np.asarray(low + (found + 0.5) * radius_nm)


def read_beads(given: Sequence[tuple[float, float]] | str | Path) -> Floats:
    """Read the lateral places ``(B, 2)`` of beads in nm, from pairs or from a csv with the header ``x_nm,y_nm``.

    Raises
    ------
    ConfigError
        The file cannot be read, or holds no bead.
    """
    if isinstance(given, str | Path):
        try:
            names = [name.strip().strip('"') for name in read_head(given).partition("\n")[0].split(",")]
            columns = [names.index("x_nm"), names.index("y_nm")]
            with open(given, encoding="utf-8-sig") as file:
                places = np.loadtxt(file, delimiter=",", usecols=columns, skiprows=1, ndmin=2, dtype=np.float64)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{given} cannot be read as a csv of beads ({error}); expected a first line 'x_nm,y_nm' and numbers."
            ) from error
    else:
        places = np.asarray(given, dtype=np.float64).reshape(-1, 2)
    if not len(places) or not np.isfinite(places).all():
        raise ConfigError("No bead was given, or one has no valid position; give x,y in nm for each.")
    return places


def _count_volumes(cell: Integers, volume: Integers, seen: Integers, last_seen: Integers) -> None:
    """Count each combination of cell and volume once; volumes ascend from call to call."""
    order = np.lexsort((volume, cell))
    cell, volume = cell[order], volume[order]
    first = np.ones(len(cell), dtype=np.bool_)
    first[1:] = (cell[1:] != cell[:-1]) | (volume[1:] != volume[:-1])
    cell, volume = cell[first], volume[first]
    new = volume > last_seen[cell]  # a volume may continue in the next piece
    np.add.at(seen, cell[new], 1)
    np.maximum.at(last_seen, cell, volume)


def _extent(view: TableView) -> tuple[Floats, Floats]:
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for rows in view.pieces():
        place = view.positions(rows)[:, :2]
        place = place[np.isfinite(place).all(axis=1)]
        if len(place):
            low, high = np.minimum(low, place.min(axis=0)), np.maximum(high, place.max(axis=0))
    if not np.isfinite(low).all():
        raise TableError(f"{view.path} has no row with a position; filter the table first.")
    return low, high
