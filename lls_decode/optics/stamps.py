"""What every point-spread function gives: stamps of light to draw, shares and slopes to fit.

Shape letters: ``E`` emitters, ``Y X`` pixels of a region of interest, ``S`` stamp. Positions are pixels; 0 is the
centre of the first pixel of the frame (or of the region of interest).
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Stamps:
    """Rectangles of light, one an emitter, and where they lie."""

    row: Tensor
    """(E,) row of the frame that the first row of each stamp falls on; int64, may be outside the frame."""
    column: Tensor
    photons_ESS: Tensor


@dataclass(frozen=True)
class PsfVariation:
    """How far the PSFs in an experiment are from the stated one, as focus and optics drift; each (E,) or (S,)."""

    width: Tensor
    """Factor by which the spot is wider, with the same light."""
    focus_x_nm: Tensor
    """Shift of the focus in which the spot is narrow along x, nm. A PSF with a single focus takes the mean of both."""
    focus_y_nm: Tensor

    def at(self, index: Tensor) -> "PsfVariation":
        """Return the rows of an index."""
        return PsfVariation(self.width[index], self.focus_x_nm[index], self.focus_y_nm[index])


class PsfModel(Protocol):
    """A point-spread function on the pixels of one camera, on one device."""

    @property
    def z_range_nm(self) -> tuple[float, float] | None:
        """Range of z that a fit may search; None where the spot is the same at every z."""

    def radius_px(self, z_range_nm: tuple[float, float]) -> int:
        """Distance from the emitter within which its stamp lies at every z of a range, pixels."""

    def stamps(
        self,
        photons: Tensor,
        x_px: Tensor,
        y_px: Tensor,
        z_nm: Tensor,
        *,
        radius_px: int,
        variation: PsfVariation | None = None,
    ) -> Stamps:
        """Light of each emitter; no stamp reaches further than ``radius_px`` from the pixel nearest to its emitter."""

    def shares(self, x_px: Tensor, y_px: Tensor, z_nm: Tensor, *, height: int, width: int) -> Tensor:
        """Share of the light of an emitter in each pixel of its own region of interest, ``(E, Y, X)``."""

    def shares_and_gradient(
        self, x_px: Tensor, y_px: Tensor, z_nm: Tensor, *, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """As `shares`, and the derivatives by x_px, y_px and z_nm, ``(E, 3, Y, X)``."""
