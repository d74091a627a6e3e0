"""Survey of a table before it is joined with others: one pass over up to four columns."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.errors import TableError
from lls_decode.table import CHANNEL_COLUMN, LARGEST_FRAME, TableMetadata, iter_tables, read_metadata, read_schema

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Member:
    """A table to be joined with others."""

    path: Path
    metadata: TableMetadata
    schema: pa.Schema
    digest: str
    """SHA-256 digest of the file."""
    num_rows: int
    num_frames: int
    """Number of frames of the dataset, in whole volumes; up to the last row if the table does not state it."""
    num_groups: int
    """Largest molecule number, plus one."""
    channels: tuple[int, ...] | None
    """Numbers that occur in the column ``channel``; None without that column."""
    is_sorted: bool
    """Whether the rows are sorted by `steps`."""

    @classmethod
    def read(cls, path: Path) -> "Member":
        """Read and survey a table.

        Raises
        ------
        TableError
            The table cannot be read.
        """
        metadata, schema = read_metadata(path), read_schema(path)
        wanted = [name for name in ("frame", "last_frame", "group", CHANNEL_COLUMN.name) if name in schema.names]
        survey = _Survey(metadata)
        for rows in iter_tables(path, wanted):
            survey.add(rows)
        planes = metadata.planes_per_volume or 1
        frames = max(survey.last_frame + 1, metadata.num_frames or 0)
        has_channels = CHANNEL_COLUMN.name in schema.names
        return cls(
            path,
            metadata,
            schema,
            _digest(path),
            survey.num_rows,
            -(-frames // planes) * planes,
            survey.last_group + 1,
            tuple(sorted(survey.channels)) if has_channels else None,
            survey.is_sorted,
        )

    def check_frames(self, first_frame: int) -> None:
        """Refuse a table whose frame numbers would be too large after its first frame is moved to ``first_frame``."""
        if first_frame + self.num_frames - 1 > LARGEST_FRAME:
            raise TableError(
                f"{self.path} would end at frame {first_frame + self.num_frames - 1}, but the largest number is "
                f"{LARGEST_FRAME}; join fewer tables."
            )


def steps(rows: pa.Table, metadata: TableMetadata) -> Integers:
    """Return the primary sort key ``(N,)`` of rows: the frame, or the volume in which a molecule was last seen."""
    if metadata.kind == "molecules":
        return np.asarray(rows["last_frame"].to_numpy().astype(np.int64) // (metadata.planes_per_volume or 1))
    return np.asarray(rows["frame"].to_numpy().astype(np.int64))


class _Survey:
    """Largest numbers and order of rows that are added in pieces."""

    def __init__(self, metadata: TableMetadata) -> None:
        self._metadata = metadata
        self.num_rows, self.last_frame, self.last_group = 0, -1, -1
        self.channels: set[int] = set()
        self.is_sorted = True
        self._last_step = -1

    def add(self, rows: pa.Table) -> None:
        """Add a piece of the columns."""
        if rows.num_rows == 0:
            return
        self.num_rows += rows.num_rows
        last = "last_frame" if "last_frame" in rows.column_names else "frame"
        self.last_frame = max(self.last_frame, int(rows[last].to_numpy().max()))
        if "group" in rows.column_names:
            self.last_group = max(self.last_group, int(rows["group"].to_numpy().max()))
        if CHANNEL_COLUMN.name in rows.column_names:
            self.channels |= set(np.unique(rows[CHANNEL_COLUMN.name].to_numpy()).tolist())
        step = steps(rows, self._metadata)
        self.is_sorted &= bool(step[0] >= self._last_step and np.all(step[1:] >= step[:-1]))
        self._last_step = int(step[-1])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
