"""Tables one after another, or beside each other in the same frames, as one table. Memory does not grow with them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.errors import ConfigError, TableError
from lls_decode.joining.agreement import check_members, joined_metadata, joined_schema
from lls_decode.joining.channels import map_channels
from lls_decode.joining.member import Member, steps
from lls_decode.outputs import guarded
from lls_decode.table import CHANNEL_COLUMN, TableMetadata, iter_tables, table_writer
from lls_decode.table.ordering import in_order
from lls_decode.table.sorting import sorted_rows

_FRAME_COLUMNS: Final = ("frame", "last_frame")


@dataclass(frozen=True)
class JoinedInput:
    """One of the tables that were joined, as the joined table remembers it."""

    name: str
    digest: str
    """Of the file, SHA-256."""
    rows: int
    first_frame: int
    """Number of its frame 0 in the joined table."""
    num_frames: int
    first_group: int
    """What was added to its numbers of molecules."""
    channels: tuple[int, ...]
    """Of its rows in the joined table."""


@dataclass(frozen=True)
class Joined:
    """What joining has made."""

    path: Path
    num_rows: int
    num_frames: int
    channels: tuple[str, ...]
    """Their names, by number; empty for a table without channels."""
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
    """Write several tables, of localizations or of molecules, as one.

    Frames and volumes of each table follow those of the one before it: each is moved by the number of frames of the
    datasets before it (by its last row, in whole volumes, where a table does not say). Molecules get numbers of their
    own. The joined table keeps the name, the digest, the history and the first frame of each table.

    Parameters
    ----------
    tables
        Two or more, in the order of the frames.
    out
        Written aside and renamed.
    same_frames
        The tables are channels of the same frames, which keep their numbers. Their rows are put in order.
    channels
        Name of the channel of each table; equal names are one channel. None: by what the tables say. A table whose
        rows are of several channels has a column ``channel``.
    progress
        Is told (rows done, rows in all).

    Raises
    ------
    ConfigError
        One table, a table twice, or channels of which it cannot be told whether they are the same.
    TableError
        A table cannot be read, is in another order, or disagrees with the others in kind, columns, pixel size,
        geometry or planes per volume.
    OutputError
        Full disk, read-only folder.
    """
    if isinstance(tables, str | Path):
        raise ConfigError("There is one table to join; give two or more.")
    members = [Member.read(Path(path)) for path in tables]
    check_members(members)
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


def _merged(streams: Sequence[Iterator[pa.Table]], members: Sequence[Member]) -> Iterator[pa.Table]:
    """Rows of the same frames, in the order of the kind of table."""
    for member in members:
        if not member.is_sorted:
            raise TableError(
                f"{member.path} is not in the order of frames, by which tables of the same frames are joined; sort it "
                f"with 'lls-decode import {member.path} SORTED.parquet'."
            )
    metadata = members[0].metadata
    arrange = partial(_by_number, metadata=metadata) if metadata.kind == "molecules" else sorted_rows
    return in_order(streams, steps=partial(steps, metadata=metadata), arrange=arrange)


def _by_number(rows: pa.Table, *, metadata: TableMetadata) -> pa.Table:
    order = np.lexsort((rows["group"].to_numpy(), steps(rows, metadata)))
    return rows.take(order).combine_chunks()


def _moved(member: Member, given: JoinedInput, numbers: dict[int, int], schema: pa.Schema) -> Iterator[pa.Table]:
    """Rows of one table with the numbers that they have in the joined one."""
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
    """What the joined table keeps of one that it was made from."""
    about = member.metadata
    kept = {"run_digest": about.run_digest, "model_digest": about.model_digest, "input": about.input}
    return {
        **asdict(given),
        "channels": list(given.channels),
        **{name: value for name, value in kept.items() if value},
        "history": list(about.history),
    }
