"""Joining of tables, one after another or side by side in the same frames, with constant memory."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.errors import ConfigError, TableError, shell_command
from lls_decode.joining.agreement import check_members, joined_metadata, joined_schema
from lls_decode.joining.channels import map_channels
from lls_decode.joining.member import Member, steps
from lls_decode.outputs import guarded
from lls_decode.table import CHANNEL_COLUMN, TableMetadata, iter_tables, table_writer
from lls_decode.table.depth import has_depth
from lls_decode.table.ordering import in_order
from lls_decode.table.sorting import sorted_rows

_logger = logging.getLogger(__name__)
_FRAME_COLUMNS: Final = ("frame", "last_frame")


@dataclass(frozen=True)
class JoinedInput:
    """Record of one of the joined tables, kept in the joined table."""

    name: str
    digest: str
    """SHA-256 digest of the file."""
    rows: int
    first_frame: int
    """Number of the table's frame 0 in the joined table."""
    num_frames: int
    first_group: int
    """Number that was added to the table's molecule numbers."""
    channels: tuple[int, ...]
    """Channels of the table's rows, numbered as in the joined table."""


@dataclass(frozen=True)
class Joined:
    """Result of joining."""

    path: Path
    num_rows: int
    num_frames: int
    channels: tuple[str, ...]
    """Channel names by number; empty for a table without channels."""
    inputs: tuple[JoinedInput, ...]


@guarded
def join_tables(
    tables: Sequence[str | Path],
    out: str | Path,
    *,
    same_frames: bool = False,
    channels: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Joined:
    """Join several tables of localizations or of molecules.

    The tables follow one another: frames and volumes of each are shifted by the number of frames of the datasets before
    it (by its last row, in whole volumes, if a table does not state the number). Molecules of different tables get
    different numbers. The joined table records name, digest, history and first frame of each table.

    Parameters
    ----------
    tables
        Two or more tables, in the order of their frames.
    out
        Path of the joined table, which is written aside and renamed.
    same_frames
        Whether the tables are channels of the same frames. Frame numbers are then kept, and rows are merged in order.
    channels
        Channel name of each table; equal names are one channel. None: taken from the tables. A table with rows of
        several channels has a column ``channel``.
    progress
        Function that is called with the numbers of finished and of all rows.

    Raises
    ------
    ConfigError
        Only one table, a table given twice, or channels that may or may not be the same.
    TableError
        A table cannot be read, is not sorted, or differs from the others in kind, columns, pixel size, geometry or
        planes per volume.
    OutputError
        Full disk, read-only folder.
    """
    if isinstance(tables, str | Path):
        raise ConfigError("There is one table to join; give two or more.")
    members = [Member.read(Path(path)) for path in tables]
    check_members(members)
    _note_flat(members)
    mapped = map_channels(members, names=channels, same_frames=same_frames)
    first_frames = [0] * len(members)
    if not same_frames:
        first_frames = list(accumulate((member.num_frames for member in members[:-1]), initial=0))
    first_groups = list(accumulate((member.num_groups for member in members[:-1]), initial=0))
    for member, first in zip(members, first_frames, strict=True):
        member.check_frames(first)
    inputs = tuple(
        JoinedInput(
            member.path.name, member.digest, member.num_rows, frame, member.num_frames, group, _used(member, numbers)
        )
        for member, frame, group, numbers in zip(members, first_frames, first_groups, mapped.numbers, strict=True)
    )
    step = {"same_frames": same_frames, "inputs": [_record(*pair) for pair in zip(inputs, members, strict=True)]}
    metadata = joined_metadata(members, first_frames, step).replace(channels=mapped.channels)
    schema = joined_schema(members, with_channel=mapped.has_column)
    streams = [
        _moved(member, given, numbers, schema)
        for member, given, numbers in zip(members, inputs, mapped.numbers, strict=True)
    ]
    in_all = sum(member.num_rows for member in members)
    with table_writer(Path(out), schema, metadata) as writer:
        for rows in _merged(streams, members) if same_frames else chain.from_iterable(streams):
            writer.write(rows)
            if progress is not None:
                progress(writer.rows, in_all)
    labels = (
        tuple(metadata.channel_label(number) for number in range(_num_channels(inputs))) if mapped.has_column else ()
    )
    return Joined(Path(out), writer.rows, metadata.num_frames or 0, labels, inputs)


def _note_flat(members: Sequence[Member]) -> None:
    """Log which tables have no depth, if others have one."""
    flat = [member.path for member in members if member.num_rows and not has_depth(member.path)]
    if flat and len(flat) < sum(member.num_rows > 0 for member in members):
        names = ", ".join(str(path) for path in flat)
        _logger.warning("Two-dimensional: %s. These rows have z = 0 in the joined table.", names)


def _merged(streams: Sequence[Iterator[pa.Table]], members: Sequence[Member]) -> Iterator[pa.Table]:
    """Merge the rows of the same frames, in the order of this kind of table."""
    for member in members:
        if not member.is_sorted:
            raise TableError(
                f"{member.path} is not sorted by frame, as required to join tables of the same frames; sort it "
                f"with '{shell_command('import', member.path, 'SORTED.parquet')}'."
            )
    metadata = members[0].metadata
    arrange = partial(_by_number, metadata=metadata) if metadata.kind == "molecules" else sorted_rows
    return in_order(streams, steps=partial(steps, metadata=metadata), arrange=arrange)


def _by_number(rows: pa.Table, *, metadata: TableMetadata) -> pa.Table:
    order = np.lexsort((rows["group"].to_numpy(), steps(rows, metadata)))
    return rows.take(order).combine_chunks()


def _moved(member: Member, given: JoinedInput, numbers: dict[int, int], schema: pa.Schema) -> Iterator[pa.Table]:
    """Give the rows of one table, renumbered for the joined table."""
    planes = member.metadata.planes_per_volume or 1
    lookup = np.zeros(max(numbers, default=0) + 1, dtype=np.uint16)
    lookup[list(numbers)] = list(numbers.values())
    for rows in iter_tables(member.path):
        columns = {name: rows[name] for name in rows.column_names}
        for name in _FRAME_COLUMNS:
            if name in columns:
                columns[name] = _plus(columns[name], given.first_frame)
        if "volume" in columns:
            columns["volume"] = _plus(columns["volume"], given.first_frame // planes)
        group = rows["group"].to_numpy()
        columns["group"] = np.where(group >= 0, group + given.first_group, group)
        own = columns.get(CHANNEL_COLUMN.name)
        columns[CHANNEL_COLUMN.name] = lookup[np.zeros(rows.num_rows, np.int64) if own is None else own.to_numpy()]
        yield pa.table([_array(columns[field.name], field.type) for field in schema], schema)


def _array(values: Any, kind: pa.DataType) -> Any:
    return pa.array(values, type=kind) if isinstance(values, np.ndarray) else values


def _plus(values: pa.ChunkedArray, first: int) -> npt.NDArray[np.int64]:
    return np.asarray(values.to_numpy().astype(np.int64) + first)


def _used(member: Member, numbers: dict[int, int]) -> tuple[int, ...]:
    own = (0,) if member.channels is None else member.channels
    return tuple(sorted(numbers[number] for number in own))


def _num_channels(inputs: Sequence[JoinedInput]) -> int:
    return max((number for given in inputs for number in given.channels), default=-1) + 1


def _record(given: JoinedInput, member: Member) -> dict[str, Any]:
    """Return what the joined table records about one of its inputs."""
    about = member.metadata
    kept = {"run_digest": about.run_digest, "model_digest": about.model_digest, "input": about.input}
    return {
        **asdict(given),
        "channels": list(given.channels),
        **{name: value for name, value in kept.items() if value},
        "history": list(about.history),
    }
