"""The heat strip: blocks by state over volumes and planes, as few enough cells for a screen."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from lls_decode.blocks import Block
from lls_decode.pipelines.status.reader import DONE, FAILED, RETRIED

MOST_COLUMNS = 300
MOST_ROWS = 8

COLOURS = {"done": "#1f9e89", "failed": "#d62728", "tried again": "#f2a33a", "left": "#e3e6e8"}


@dataclass(frozen=True)
class Cells:
    """Rectangles of (volume, plane); a cell holds one block or several neighbours. Arrays are all as long."""

    left: list[float]
    """First volume, and one past the last."""
    right: list[float]
    bottom: list[float]
    """First plane, and one past the last."""
    top: list[float]
    colour: list[str]
    words: list[str]
    """How many blocks are in which state."""


def make_cells(blocks: Sequence[Block], states: npt.NDArray[np.uint8]) -> Cells:
    """Cells of all blocks, states as `RunReader.states` gives them.

    A lost block colours its cell, whatever its neighbours are; otherwise a cell is as green as it is done.
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
    """Limits of at most so many groups of equal size."""
    return np.unique(np.linspace(0, number, min(number, most) + 1).round().astype(np.int64))


def _sums(
    mask: npt.NDArray[np.bool_], columns: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Number of blocks in each cell."""
    by_column = np.add.reduceat(mask.astype(np.int64), columns[:-1], axis=0)
    return np.asarray(np.add.reduceat(by_column, rows[:-1], axis=1))


def _colour(total: int, done: int, failed: int, retried: int) -> str:
    if failed:
        return COLOURS["failed"]
    if retried:
        return COLOURS["tried again"]
    share = done / total
    pairs = zip(_rgb(COLOURS["left"]), _rgb(COLOURS["done"]), strict=True)
    return "#" + "".join(f"{round(low + share * (high - low)):02x}" for low, high in pairs)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _words(total: int, done: int, failed: int, retried: int) -> str:
    parts = [f"{done} of {total} blocks done"]
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{retried} tried again"] if retried else []
    return ", ".join(parts)
