"""Linking of localizations into molecules: sightings in neighbouring planes, frames and volumes become one row.

A table is read once, in its order. Rows are collected until their volume (in a movie: frame) is complete. The
localizations of one volume are first linked along its planes; the resulting molecules are then linked from volume to
volume. In a movie, localizations are linked from frame to frame. Only molecules that may be seen again are kept in
memory, so memory does not grow with the table.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.errors import ConfigError, TableError, shell_command
from lls_decode.molecules.chains import Gate, Points, find_previous
from lls_decode.molecules.correlation import Memory, correlation_of, shared_errors
from lls_decode.molecules.positions import Positions, has_sigmas
from lls_decode.molecules.schema import molecule_schema, molecule_table
from lls_decode.molecules.sightings import Sightings
from lls_decode.molecules.tracks import Finished, Tracks, number_chains
from lls_decode.outputs import in_place
from lls_decode.table import (
    LARGEST_FRAME,
    ROW_GROUP_ROWS,
    TableMetadata,
    count_rows,
    iter_tables,
    read_metadata,
    read_schema,
    software_versions,
    table_writer,
)
from lls_decode.table.files import output_error
from lls_decode.table.marks import kind_of

Integers = npt.NDArray[np.int64]

MOLECULES = "molecules.parquet"
_STEP = "link"
_SUMMED = ("photons", "phot_sig", "bg", "prob")
_NEEDED = ("frame", "x_nm", "y_nm", "xs_nm", "ys_nm", "zs_nm")


@dataclass(frozen=True)
class Linked:
    """Written tables, and the number of their rows."""

    localizations: Path
    molecules: Path
    num_rows: int
    num_molecules: int
    weighted: bool = True
    """Whether positions are means weighted by sigmas; False: unweighted means, because not all rows have sigmas."""


def link(
    table: str | Path,
    *,
    out: str | Path | None = None,
    gate: Gate | None = None,
    gap: int = 1,
    volume_gap: int | None = 0,
    progress: Callable[[int, int], None] | None = None,
    batch_rows: int = ROW_GROUP_ROWS,
) -> Linked:
    """Link the localizations of a table into molecules.

    Writes ``molecules.parquet`` with one row per molecule, and a copy of the table whose column ``group`` has the
    number of each row's molecule. `find_previous` decides which localizations belong to one molecule; localizations of
    different channels are never linked. Positions are means weighted by 1/sigma^2, axis by axis (Speiser et al. 2021,
    Extended Data Fig. 2), in coordinates in which molecules do not move. The sigmas of molecules take into account that
    errors in neighbouring frames are correlated, if the model of the table has these correlations on record
    (`molecules.correlation`). Rows of molecules are sorted by their last volume (in a movie: frame), then by number.
    Molecules are numbered in the order of their first localizations.

    Parameters
    ----------
    table
        Localizations, sorted by frame. Existing links are replaced.
    out
        Folder for both files; None: the folder of the table, which is then replaced once everything is written.
    gate
        Largest distance between two sightings of one molecule; None: the defaults of `Gate`. With ``radius_nm``,
        tables without sigmas can be linked, too. If any row has no sigma, all positions are unweighted means and
        molecules have no sigmas.
    gap
        Largest number of dark frames (within a volume: planes) between two sightings.
    volume_gap
        Largest number of dark volumes between two sightings, for tables with planes; None: molecules of different
        volumes are not linked.
    progress
        Callback that receives the number of processed rows and the total number.
    batch_rows
        Smallest number of rows processed at once; affects only the memory use.

    Raises
    ------
    TableError
        The table cannot be read, is a table of molecules, has rows without sigmas (and no radius is given), is not
        sorted by frame, or has planes but no geometry.
    ConfigError
        The gate or a gap is invalid, or the table has the name of the file that molecules are written to.
    OutputError
        The disk is full, or the folder is read-only.
    """
    table = Path(table)
    metadata = _read_localizations(table)
    if table.name == MOLECULES:
        raise ConfigError(f"{table} has the name of the file that molecules are written to; rename the table.")
    for name, value in (("gap", gap), ("volume_gap", volume_gap)):
        if value is not None and value < 0:
            raise ConfigError(f"{name} is {value}; expected 0 (link only consecutive ones) or more.")
    gate = gate or Gate()
    positions = Positions(table, metadata, weighted=gate.radius_nm is None or has_sigmas(table))
    linker = _Linker(positions, metadata, gate, gap, -1 if volume_gap is None else volume_gap)
    metadata = metadata.without_step(_STEP).with_step(_STEP, **linker.settings, software=software_versions())
    folder = _folder(table, out)
    in_all = count_rows(table)
    of_molecules = metadata.of_kind("molecules")
    # the inner file is renamed first, so that each molecule number in the table refers to an existing row
    with (
        in_place(table),
        table_writer(folder / table.name, read_schema(table), metadata) as rows,
        table_writer(folder / MOLECULES, linker.schema, of_molecules) as molecules,
    ):
        for batch in _iter_whole(table, linker.planes_per_volume, batch_rows):
            number, finished = linker.add(batch)
            rows.write(_with_group(batch, number))
            molecules.write(finished)
            if progress is not None:
                progress(rows.rows, in_all)
        molecules.write(linker.finish())
        rows.finish()
        molecules.finish()
    return Linked(folder / table.name, folder / MOLECULES, rows.rows, molecules.rows, positions.weighted)


def unlink(table: str | Path, *, out: str | Path | None = None) -> Path:
    """Remove the molecule numbers from a table and the linking from its history; return the path of the table.

    If the table itself is replaced (``out`` is None), the ``molecules.parquet`` beside it is deleted, because its
    molecules no longer belong to a table.

    Raises
    ------
    TableError
        The table cannot be read, or is not linked.
    OutputError
        The disk is full, or the folder is read-only.
    """
    table = Path(table)
    metadata = _read_localizations(table)
    if not metadata.steps(_STEP):
        raise TableError(f"{table} is not linked; there is nothing to undo.")
    final = _folder(table, out) / table.name
    with in_place(table), table_writer(final, read_schema(table), metadata.without_step(_STEP)) as rows:
        for batch in iter_tables(table):
            rows.write(_with_group(batch, np.full(batch.num_rows, -1, dtype=np.int64)))
    molecules = final.parent / MOLECULES
    if final.samefile(table) and kind_of(molecules) == "a table of molecules":
        molecules.unlink()
    return final


class _Linker:
    """Linker that takes the rows of whole volumes and returns molecule numbers and finished molecules."""

    def __init__(self, positions: Positions, metadata: TableMetadata, gate: Gate, gap: int, volume_gap: int) -> None:
        self.planes_per_volume = positions.planes_per_volume
        self._positions, self._gate, self._gap = positions, gate, min(gap, self.planes_per_volume)
        self.has_sample, self.has_channels = positions.geometry is not None, metadata.has_channels
        self.schema = molecule_schema(self.has_sample, self.has_channels)
        """Schema of the table of molecules."""
        if gate.radius_nm is None:
            limits = {"sigmas": gate.sigmas, "lateral_nm": gate.lateral_nm}
        else:
            limits = {"radius_nm": gate.radius_nm, "weighted": positions.weighted}
        self.settings: dict[str, float] = {**limits, "axial_nm": gate.axial_nm, "gap": gap}
        """Settings recorded in the history of the table."""
        if self.planes_per_volume > 1:
            self.settings["volume_gap"] = volume_gap
        model = metadata.model if positions.weighted else {}
        self._along_planes_3L = correlation_of(model, "plane")
        self._tracks = Tracks(
            gate,
            gap=min(volume_gap if self.planes_per_volume > 1 else gap, LARGEST_FRAME),
            correlation_3L=correlation_of(model, "time"),
        )

    def add(self, batch: pa.Table) -> tuple[Integers, pa.Table]:
        """Link the rows of a batch; return the molecule number of each row, and the finished molecules."""
        names = ("frame", *_SUMMED, *self._positions.columns, *(("channel",) if self.has_channels else ()))
        rows = {name: _column(batch, name) for name in names}
        position_3N, variance_3N = self._positions.read(rows)
        seen = Sightings.from_rows(rows, position_3N, variance_3N)
        points = Points(seen.first_frame, position_3N, variance_3N, seen.channel)
        if self.planes_per_volume == 1:
            number, finished = self._tracks.add(seen, points.step)
            return number, self._table(finished)
        points = self._by_plane(points)
        previous = find_previous(points, self._gate, gap=self._gap)
        nothing = Memory.empty(self._along_planes_3L.shape[1])
        shared_3N, _ = shared_errors(nothing, points.step, points.variance_3N, previous, self._along_planes_3L)
        seen = replace(seen, shared_3N=shared_3N)
        label, num = number_chains(previous)
        seen = seen.combine(label, num, within_volume=True)
        number, finished = self._tracks.add(seen, seen.first_frame // self.planes_per_volume)
        return number[label], self._table(finished)

    def finish(self) -> pa.Table:
        """Return the remaining molecules."""
        return self._table(self._tracks.finish())

    def _by_plane(self, points: Points) -> Points:
        """Use planes as steps, with steps of different volumes too far apart to be linked."""
        volume, plane = np.divmod(points.step, self.planes_per_volume)
        return replace(points, step=volume * (self.planes_per_volume + self._gap + 1) + plane)

    def _table(self, finished: Finished | None) -> pa.Table:
        if finished is None:
            return self.schema.empty_table()
        found = molecule_table(finished.number, finished.sums, self._positions.geometry, with_channel=self.has_channels)
        return found if self._positions.weighted else _without_sigmas(found)


def _read_localizations(table: Path) -> TableMetadata:
    metadata = read_metadata(table)
    if metadata.kind != "localizations":
        raise TableError(f"{table} is a table of {metadata.kind}; give the table of localizations that it came from.")
    return metadata


def _folder(table: Path, out: str | Path | None) -> Path:
    """Return the output folder; create it if necessary."""
    if out is None:
        return table.parent
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(Path(out), error) from error
    return Path(out)


def _column(batch: pa.Table, name: str) -> npt.NDArray[Any]:
    """Return a column; NaN where a table imported from another program has no such column."""
    if name not in batch.column_names and name not in _NEEDED:
        return np.full(batch.num_rows, np.nan)
    return np.asarray(batch[name].to_numpy())


def _without_sigmas(molecules: pa.Table) -> pa.Table:
    for name in ("x_sig", "y_sig", "z_sig"):
        place = molecules.schema.get_field_index(name)
        unknown = pa.array(np.full(molecules.num_rows, np.nan, np.float32))
        molecules = molecules.set_column(place, molecules.schema.field(place), unknown)
    return molecules


def _with_group(batch: pa.Table, number: Integers) -> pa.Table:
    place = batch.schema.get_field_index("group")
    return batch.set_column(place, batch.schema.field(place), pa.array(number))


def _iter_whole(table: Path, planes_per_volume: int, batch_rows: int) -> Iterator[pa.Table]:
    """Yield the rows of whole volumes, at least ``batch_rows`` at a time, in the order of the table."""
    waiting: list[pa.Table] = []
    last_frame = -1
    for piece in iter_tables(table):
        frame = piece["frame"].to_numpy().astype(np.int64)
        if len(frame) and (frame[0] < last_frame or np.any(frame[1:] < frame[:-1])):
            raise TableError(
                f"{table} is not sorted by frame, which linking needs; sort it with "
                f"'{shell_command('import', table, 'SORTED.parquet')}'."
            )
        last_frame = int(frame[-1]) if len(frame) else last_frame
        waiting.append(piece)
        if sum(part.num_rows for part in waiting) < batch_rows:
            continue
        rows = pa.concat_tables(waiting)
        volume = rows["frame"].to_numpy() // planes_per_volume
        cut = int(np.searchsorted(volume, volume[-1]))  # the last volume may continue in the next piece
        if cut:
            yield rows.slice(0, cut)
        waiting = [rows.slice(cut)]
    rows = pa.concat_tables(waiting) if waiting else read_schema(table).empty_table()
    if rows.num_rows:
        yield rows
