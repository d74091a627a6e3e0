"""The heat strip: the state of all blocks over volumes and planes, with few enough cells for a screen."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from lls_decode.blocks import Block
from lls_decode.pipelines.status.reader import DONE, FAILED, RETRIED

MOST_COLUMNS = 300
MOST_ROWS = 8

COLOURS = {"done": "#1f9e89", "failed": "#d62728", "retried": "#f2a33a", "left": "#e3e6e8"}
"""Colour of each state, by the name that the legend shows."""


@dataclass(frozen=True)
class Cells:
    """Rectangles over volumes and planes, each for one block or several neighbours. All lists have the same length."""

    left: list[float]
    """First volume of each cell."""
    right: list[float]
    """One past the last volume of each cell."""
    bottom: list[float]
    """First plane of each cell."""
    top: list[float]
    """One past the last plane of each cell."""
    colour: list[str]
    words: list[str]
    """Number of blocks in each state, as text."""


def make_cells(blocks: Sequence[Block], states: npt.NDArray[np.uint8]) -> Cells:
    """Return the cells of all blocks; ``states`` are those of `RunReader.states`.

    A cell with a failed block has the colour of failures. Otherwise its colour shows the fraction of finished blocks.
    """
    if not blocks:
        return Cells([], [], [], [], [], [])
    first_volume = blocks[0].volume_start
    rows = next((number for number, block in enumerate(blocks) if block.volume_start != first_volume), len(blocks))
    columns = len(blocks) // rows
    column_edges, row_edges = _edges(columns, MOST_COLUMNS), _edges(rows, MOST_ROWS)
    grid = states.reshape(columns, rows)
    counts = {code: _sums(grid == code, column_edges, row_edges) for code in (DONE, FAILED, RETRIED)}
    found = Cells([], [], [], [], [], [])
    for i, (c0, c1) in enumerate(pairwise(column_edges)):
        for j, (r0, r1) in enumerate(pairwise(row_edges)):
            first, last = blocks[c0 * rows + r0], blocks[(c1 - 1) * rows + r1 - 1]
            numbers = [int(counts[code][i, j]) for code in (DONE, FAILED, RETRIED)]
            found.left.append(first.volume_start)
            found.right.append(last.volume_stop)
            found.bottom.append(first.plane_start)
            found.top.append(last.plane_stop)
            found.colour.append(_colour((c1 - c0) * (r1 - r0), *numbers))
            found.words.append(_words((c1 - c0) * (r1 - r0), *numbers))
    return found


def _edges(number: int, most: int) -> npt.NDArray[np.int64]:
    """Return the edges of at most ``most`` groups of about equal size."""
    return np.unique(np.linspace(0, number, min(number, most) + 1).round().astype(np.int64))


def _sums(
    mask: npt.NDArray[np.bool_], columns: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the number of blocks in each cell for which the mask is set."""
    by_column = np.add.reduceat(mask.astype(np.int64), columns[:-1], axis=0)
    return np.asarray(np.add.reduceat(by_column, rows[:-1], axis=1))


def _colour(total: int, done: int, failed: int, retried: int) -> str:
    if failed:
        return COLOURS["failed"]
    if retried:
        return COLOURS["retried"]
    share = done / total
    pairs = zip(_rgb(COLOURS["left"]), _rgb(COLOURS["done"]), strict=True)
    return "#" + "".join(f"{round(low + share * (high - low)):02x}" for low, high in pairs)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _words(total: int, done: int, failed: int, retried: int) -> str:
    parts = [f"{done} of {total} blocks done"]
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{retried} retried"] if retried else []
    return ", ".join(parts)
