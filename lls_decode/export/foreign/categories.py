"""Columns that tell colours and source files apart: numbered, chosen from, never pooled without a word."""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.errors import TableError

_MOST: Final = 256
_HIGHEST_NUMBER: Final = 63
"""A channel of a larger number, such as a wavelength, is given a number of its own."""


@dataclass
class Category:
    """One such column, value by value; bounded, as values are few."""

    ours: str
    """``channel`` or ``file``."""
    theirs: str
    chosen: str | None
    """Only rows of this value are taken."""
    source: object
    first: int = 0
    """From which number they are counted, where they are numbers."""
    values: dict[str, int] = field(default_factory=dict)
    """Codes by value, in the order in which they came."""

    def codes(self, column: Any) -> npt.NDArray[np.int64]:
        """The code of each row.

        Raises
        ------
        TableError
            There are more values than files or colours.
        """
        encoded = pa.array(column).dictionary_encode()
        words = [_plain(value) for value in encoded.dictionary.to_pylist()]
        for word in words:
            self.values.setdefault(word, len(self.values))
        if len(self.values) > _MOST:
            raise TableError(
                f"{self.source} has more than {_MOST} values in column {self.theirs!r}, which is taken for that of the "
                f"{self.ours}; if it is none, leave it out: --columns '{self.ours}='."
            )
        places = np.array([self.values[word] for word in words] or [0], dtype=np.int64)
        indices = encoded.indices
        if indices.null_count:
            empty = self.values.setdefault("", len(self.values))
            places, indices = np.append(places, empty), indices.fill_null(len(places))
        return np.asarray(places[indices.to_numpy(zero_copy_only=False)])

    def chosen_rows(self, codes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_] | None:
        """Which rows are taken; None: all."""
        if self.chosen is None:
            return None
        return np.asarray(codes == self.values.get(_plain(self.chosen), -1))

    def check(self) -> None:
        """Refuse a value that no row has, and several files in one table.

        Raises
        ------
        TableError
            Names the values.
        """
        words = ", ".join(repr(value) for value in sorted(self.values)[:10])
        if self.chosen is not None and _plain(self.chosen) not in self.values:
            raise TableError(
                f"{self.source} has no row whose {self.theirs} is {self.chosen!r} (--{self.ours}); there are {words}."
            )
        if self.ours == "file" and self.chosen is None and len(self.values) > 1:
            raise TableError(
                f"{self.source} holds rows of {len(self.values)} files ({words} in column {self.theirs!r}), whose "
                "frames would be pooled; take one with --file VALUE, and do so for each, or leave the column out where "
                "its frames are those of one acquisition: --columns 'file='."
            )

    def are_numbers(self) -> bool:
        """Whether all values are whole numbers, and small."""
        limits = range(self.first, self.first + _HIGHEST_NUMBER + 1)
        return all(value.isdecimal() and int(value) in limits for value in self.values)

    def numbers(self) -> dict[str, int]:
        """Number of each value: the value itself where all are small whole numbers, else in alphabetical order."""
        if self.are_numbers():
            return {value: int(value) - self.first for value in self.values}
        return {value: number for number, value in enumerate(sorted(self.values, key=_natural))}

    def renumbered(self, codes: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
        """Numbers of the rows with these codes."""
        by_value = self.numbers()
        table = np.array([by_value[value] for value in self.values] or [0], dtype=np.uint16)
        return np.asarray(table[codes])


def _plain(value: object) -> str:
    """A value as text, the same for 1, 1.0 and '1.0'."""
    text = str(value).strip() if value is not None else ""
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else text


def _natural(value: str) -> tuple[int, float, str]:
    """Numbers by their size, before words."""
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value
