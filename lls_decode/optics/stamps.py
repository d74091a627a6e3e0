"""Interface of all point-spread functions: stamps of light for drawing, shares and their derivatives for fitting.

Shape letters: ``E`` emitters, ``Y X`` pixels of a region of interest, ``S`` stamp. Positions are in pixels; 0 is the
centre of the first pixel of the frame (or of the region of interest).
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Stamps:
    """Rectangles of light, one per emitter, and their positions in the frame."""

    row: Tensor
    """Frame row of the first row of each stamp, (E,) int64; may be outside the frame."""
    column: Tensor
    photons_ESS: Tensor


@dataclass(frozen=True)
class PsfVariation:
    """Deviation of PSFs from the configured PSF, as focus and optics drift in an experiment; fields (E,) or (S,)."""

    width: Tensor
    """Factor by which the spot is wider, with the same total light."""
    focus_x_nm: Tensor
    """Shift, in nm, of the focus in which the spot is narrow along x. A PSF with a single focus is shifted by the mean
    of ``focus_x_nm`` and ``focus_y_nm``."""
    focus_y_nm: Tensor

    def at(self, index: Tensor) -> "PsfVariation":
        """Return the variations selected by an index or a mask."""
        return PsfVariation(self.width[index], self.focus_x_nm[index], self.focus_y_nm[index])


class PsfModel(Protocol):
    """Point-spread function on the pixels of one camera, on one device."""

    @property
    def z_range_nm(self) -> tuple[float, float] | None:
        """Range of z that a fit may search; None if the spot does not depend on z."""

    def radius_px(self, z_range_nm: tuple[float, float]) -> int:
        """Return the distance from the emitter, in pixels, that its stamp does not exceed at any z in a range."""

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
        """Return the light of each emitter, in a stamp within ``radius_px`` of the pixel nearest to the emitter."""

    def shares(self, x_px: Tensor, y_px: Tensor, z_nm: Tensor, *, height: int, width: int) -> Tensor:
        """Return the share of each emitter's light in each pixel of its own region of interest, ``(E, Y, X)``."""

    def shares_and_gradient(
        self, x_px: Tensor, y_px: Tensor, z_nm: Tensor, *, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """Return `shares` and their derivatives with respect to x_px, y_px and z_nm, ``(E, 3, Y, X)``."""
