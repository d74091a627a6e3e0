"""Merge several sorted tables into one sorted stream of rows, while holding only a piece of each."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_END: Final = int(np.iinfo(np.int64).max)


def in_order(
    streams: Sequence[Iterator[pa.Table]],
    *,
    steps: Callable[[pa.Table], npt.NDArray[np.int64]],
    arrange: Callable[[pa.Table], pa.Table],
) -> Iterator[pa.Table]:
    """Merge the rows of all streams, in the order of their steps.

    Parameters
    ----------
    streams
        Pieces of tables of one schema; the steps of each stream ascend.
    steps
        Function that returns the step of each row.
    arrange
        Function that sorts the rows of whole steps.

    Raises
    ------
    ValueError
        The steps of a stream do not ascend.
    """
    waiting = [_Waiting(stream, steps) for stream in streams]
    while waiting := [one for one in waiting if one.load_some()]:
        bound = min(one.known_to for one in waiting)
        ready = [part for one in waiting if (part := one.take(bound)).num_rows]
        if ready:
            yield arrange(pa.concat_tables(ready))
        for one in waiting:
            if one.known_to == bound < _END:
                one.load()


class _Waiting:
    """Rows of one stream that were read but not returned yet."""

    def __init__(self, stream: Iterator[pa.Table], steps: Callable[[pa.Table], npt.NDArray[np.int64]]) -> None:
        self._stream, self._steps = stream, steps
        self._rows: pa.Table | None = None
        self.known_to = -1
        """All rows with steps below this one were read."""

    def load_some(self) -> bool:
        """Read until there is a row; return False if the stream has ended."""
        while (self._rows is None or self._rows.num_rows == 0) and self.known_to < _END:
            self.load()
        return self._rows is not None and self._rows.num_rows > 0

    def load(self) -> None:
        """Read one more piece."""
        piece = next(self._stream, None)
        if piece is None:
            self.known_to = _END
            return
        self._rows = piece if self._rows is None else pa.concat_tables([self._rows, piece])
        if piece.num_rows:
            step = self._steps(piece)
            if step[0] < self.known_to or np.any(step[1:] < step[:-1]):
                raise ValueError("the steps of a stream do not ascend")
            self.known_to = int(step[-1])

    def take(self, bound: int) -> pa.Table:
        """Remove and return the rows with steps below ``bound``."""
        assert self._rows is not None
        count = int(np.searchsorted(self._steps(self._rows), bound))
        taken, self._rows = self._rows.slice(0, count), self._rows.slice(count)
        return taken
