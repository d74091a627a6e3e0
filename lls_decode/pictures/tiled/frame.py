"""Surroundings of a picture: a scale bar, a colour bar or names of channels, and a label in a corner.

Each is drawn by matplotlib on a small figure of its own, and laid over the rows of the picture as they pass.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lls_decode.drawing import new_figure
from lls_decode.pictures.colours import to_srgb
from lls_decode.pictures.figures import colour_bar, dim_label, round_length

Bytes = npt.NDArray[np.uint8]

_DPI: Final = 100
_SMALL_PX: Final = 700
"""Size to which smaller pictures are enlarged."""
_EDGE: Final = (0x30, 0x34, 0x38)
_POINT: Final = _DPI / 72
_BYTES_AT_ONCE: Final = 2**26
"""Bytes of the rows above and below the picture that are made at once."""
_WIDEST: Final = 50_000
"""Width in pixels of the widest picture whose scale bar grows with it; a longer bar would fit on no screen."""


@dataclass(frozen=True)
class Patch:
    """A small picture with transparency, and its place in the large one."""

    top: int
    left: int
    rgba: Bytes

    def lay_over(self, rows: Bytes, first_row: int) -> None:
        """Blend into those rows of the large picture that begin with ``first_row``."""
        height, width = self.rgba.shape[:2]
        top, stop = max(self.top, first_row), min(self.top + height, first_row + len(rows))
        left, right = max(self.left, 0), min(self.left + width, rows.shape[1])
        if top >= stop or left >= right:
            return
        own = self.rgba[top - self.top : stop - self.top, left - self.left : right - self.left].astype(np.float32)
        below = rows[top - first_row : stop - first_row, left:right]
        share = own[..., 3:] / 255
        below[:] = np.rint(own[..., :3] * share + below * (1 - share)).astype(np.uint8)


@dataclass(frozen=True)
class Frame:
    """A picture of ``height`` x ``width`` pixels with its surroundings, laid out in whole pixels of the file."""

    height: int
    width: int
    pixel_nm: float
    label: str = ""
    values: tuple[float, float] | None = None
    """Values of the first and the last colour; None: no colour bar."""
    title: str = ""
    """Quantity that the colours stand for."""
    names: Sequence[tuple[str, npt.NDArray[np.float64]]] = ()
    """Names and colours (linear RGB) of the channels."""

    @property
    def enlarged(self) -> int:
        """Number of pixels in the file along each side of a pixel of the picture."""
        return max(1, math.ceil(_SMALL_PX / max(self.height, self.width)))

    @property
    def text(self) -> float:
        """Relative size of text."""
        return min(max(self.enlarged * max(self.height, self.width) / 1000, 0.8), 4.0)

    @property
    def margin(self) -> int:
        """Number of pixels on each side of the picture."""
        return round(14 * self.text)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns of the file."""
        longest = max((len(name) for name, _ in self.names), default=0)
        beside = round(max(108, 28 + 9 * longest) * self.text)
        rows = max(self.enlarged * self.height + 2 * self.margin, self._beside_rows)
        return rows, self.margin + self.enlarged * self.width + beside

    @property
    def top(self) -> int:
        """Row of the file in which the picture begins."""
        return (self.shape[0] - self.enlarged * self.height) // 2

    def rows(self, picture: Iterable[Bytes]) -> Iterator[Bytes]:
        """Give the rows of the file, from the rows ``(N, width, 3)`` of the picture."""
        patches = [patch for patch in (self._corner(), self._scale(), self._beside()) if patch is not None]
        first = 0
        for some in self._with_margins(picture):
            for patch in patches:
                patch.lay_over(some, first)
            yield some
            first += len(some)

    def _with_margins(self, picture: Iterable[Bytes]) -> Iterator[Bytes]:
        left, right = self.margin, self.margin + self.enlarged * self.width
        yield from self._margin(self.top, last=True)
        for some in picture:
            large = some.repeat(self.enlarged, axis=0).repeat(self.enlarged, axis=1) if self.enlarged > 1 else some
            rows = np.zeros((len(large), self.shape[1], 3), dtype=np.uint8)
            rows[:, left - 1] = rows[:, right] = _EDGE
            rows[:, left:right] = large
            yield rows
        yield from self._margin(self.shape[0] - self.top - self.enlarged * self.height, last=False)

    def _margin(self, num_rows: int, *, last: bool) -> Iterator[Bytes]:
        """Give dark rows above or below the picture, a few at once; the last or the first one is the picture's edge."""
        at_once = max(1, _BYTES_AT_ONCE // (3 * self.shape[1]))
        edge = num_rows - 1 if last else 0
        for first in range(0, num_rows, at_once):
            rows = np.zeros((min(at_once, num_rows - first), self.shape[1], 3), dtype=np.uint8)
            if first <= edge < first + len(rows):
                rows[edge - first, self.margin - 1 : self.margin + self.enlarged * self.width + 1] = _EDGE
            yield rows

    @property
    def _beside_rows(self) -> int:
        return round(max(260, 60 + 22 * len(self.names)) * self.text)

    def _corner(self) -> Patch | None:
        if not self.label:
            return None
        rows, columns = round(34 * self.text), round((24 + 8 * len(self.label)) * self.text)
        figure = _clear_figure(rows, columns)
        at = 8 * self.text * _POINT
        dim_label(figure, (at / columns, 1 - at / rows), self.label, text=self.text)
        return Patch(self.top, self.margin, _drawn(figure))

    def _scale(self) -> Patch:
        """Draw a bar of round length, about a fifth of the width or of `_WIDEST`, for the lower right corner."""
        length_nm = round_length(min(self.width, _WIDEST) * self.pixel_nm / 5)
        bar = max(1, round(length_nm / self.pixel_nm * self.enlarged))
        words = f"{length_nm / 1000:g} µm" if length_nm >= 1000 else f"{length_nm:g} nm"
        rows, columns = round(36 * self.text), max(bar, round(80 * self.text))
        figure = _clear_figure(rows, columns)
        figure.text(0.5, 1.0, words, color="white", fontsize=10 * self.text, ha="center", va="top")
        rgba = _drawn(figure)
        thick, first = max(2, round(4 * self.text)), (columns - bar) // 2
        rgba[-thick:, first : first + bar] = 255
        away = round(10 * self.text)
        right, bottom = self.margin + self.enlarged * self.width, self.top + self.enlarged * self.height
        return Patch(bottom - away - rows, right - away - columns, rgba)

    def _beside(self) -> Patch | None:
        """Draw a colour bar, or the names of channels, for the right side at half height."""
        left = self.margin + self.enlarged * self.width + 1
        rows, columns = self._beside_rows, self.shape[1] - left
        figure, text = _clear_figure(rows, columns), self.text
        if self.names:
            for number, (name, colour) in enumerate(self.names):
                height = 0.5 + (len(self.names) / 2 - number - 0.5) * 22 * text / rows
                shade = to_srgb(colour.astype(np.float32)) / 255
                figure.text(14 * text / columns, height, name, color=shade, fontsize=10 * text, va="center")
        elif self.values is not None:
            box = (28 * text / columns, 0.5 - 100 * text / rows, 14 * text / columns, 200 * text / rows)
            colour_bar(figure, box, self.values, title=self.title, text=text)
        else:
            return None
        return Patch((self.shape[0] - rows) // 2, left, _drawn(figure))


def _clear_figure(rows: int, columns: int) -> Any:
    return new_figure("Pictures with scale bars need", columns / _DPI, rows / _DPI, dpi=_DPI, facecolor="none")


def _drawn(figure: Any) -> Bytes:
    """Return the RGBA pixels of a figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())
