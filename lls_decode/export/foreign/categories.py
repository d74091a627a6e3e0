"""Columns that distinguish channels or source files: their values are numbered, selected, and never pooled silently."""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.errors import TableError

EMPTY: Final = "none"
"""Name of the channel or source file of rows that state none."""
_MOST: Final = 256
_HIGHEST_NUMBER: Final = 63
"""Largest value that is kept as the number of a channel; larger ones, such as wavelengths, are renumbered."""


@dataclass
class Category:
    """A column of channels or source files, with its few distinct values."""

    ours: str
    """``channel`` or ``file``."""
    theirs: str
    chosen: str | None
    """Value whose rows are imported; None: all rows."""
    source: object
    first: int = 0
    """Number of the first value, if the values are numbers."""
    values: dict[str, int] = field(default_factory=dict)
    """Codes by value, in the order in which the values were found."""

    def codes(self, column: Any) -> npt.NDArray[np.int64]:
        """Return the code of each row.

        Raises
        ------
        TableError
            The column has too many values for source files or channels.
        """
        encoded = pa.array(column).dictionary_encode()
        words = [_plain(value) for value in encoded.dictionary.to_pylist()]
        for word in words:
            self.values.setdefault(word, len(self.values))
        if len(self.values) > _MOST:
            raise TableError(
                f"{self.source} has more than {_MOST} values in column {self.theirs!r}, which is taken for the column "
                f"of the {self.ours}; if it is not, leave it out: --columns '{self.ours}='."
            )
        places = np.array([self.values[word] for word in words] or [0], dtype=np.int64)
        indices = encoded.indices
        if indices.null_count:
            empty = self.values.setdefault(EMPTY, len(self.values))
            places, indices = np.append(places, empty), indices.fill_null(len(places))
        return np.asarray(places[indices.to_numpy(zero_copy_only=False)])

    def chosen_rows(self, codes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_] | None:
        """Return which rows are selected; None: all rows."""
        if self.chosen is None:
            return None
        return np.asarray(codes == self.values.get(_plain(self.chosen), -1))

    def check(self) -> None:
        """Refuse a selected value that no row has, and a table of several source files without selection.

        Raises
        ------
        TableError
            The message names the values.
        """
        words = ", ".join(repr(value) for value in sorted(self.values)[:10])
        if self.chosen is not None and _plain(self.chosen) not in self.values:
            raise TableError(
                f"{self.source} has no row whose {self.theirs} is {self.chosen!r} (--{self.ours}); there are {words}."
            )
        if self.ours == "file" and self.chosen is None and len(self.values) > 1:
            raise TableError(
                f"{self.source} holds rows of {len(self.values)} files ({words} in column {self.theirs!r}), whose "
                "frames would be pooled; import one file at a time with --file VALUE, or leave the column out if "
                "its frames belong to one acquisition: --columns 'file='."
            )

    def are_numbers(self) -> bool:
        """Return whether all values are small whole numbers."""
        limits = range(self.first, self.first + _HIGHEST_NUMBER + 1)
        return all(value.isdecimal() and int(value) in limits for value in self.values)

    def numbers(self) -> dict[str, int]:
        """Return the number of each value: the value itself if all are small whole numbers, else its rank."""
        if self.are_numbers():
            return {value: int(value) - self.first for value in self.values}
        return {value: number for number, value in enumerate(sorted(self.values, key=_natural))}

    def renumbered(self, codes: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
        """Return the final numbers of rows with these codes."""
        by_value = self.numbers()
        table = np.array([by_value[value] for value in self.values] or [0], dtype=np.uint16)
        return np.asarray(table[codes])


def _plain(value: object) -> str:
    """Return a value as text, which is the same for 1, 1.0 and '1.0'."""
    text = str(value).strip() if value is not None else ""
    if not text or text.lower() in ("nan", "none", "null"):
        return EMPTY
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else text


def _natural(value: str) -> tuple[int, float, str]:
    """Return a key that sorts numbers by value, then words, and no value last."""
    if value == EMPTY:
        return 2, 0.0, value
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value
