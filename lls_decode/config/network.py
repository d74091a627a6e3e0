"""The localization network: its architecture, and the scales between network and physical units."""

from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator

from lls_decode.axes import ContextKind, NetworkVariant, ScanAxis
from lls_decode.config.base import Config
from lls_decode.config.calibration import ErrorCalibration

STRIDE = 4
"""Frames must be multiples of this many pixels; features repeat their phase after as many."""
RECEPTIVE_RADIUS_PX: Mapping[NetworkVariant, int] = {"published": 44, "light": 34}
"""Farthest input pixel that an output pixel depends on (by exact gradients), plane shift apart."""
CROWD_RADIUS_PX = 4
"""Half-width of the square around a detection in which the probability of other emitters is summed."""


class NetworkConfig(Config):
    """Two stacked networks: one for each frame, one for windows of three."""

    variant: NetworkVariant = "published"
    """``published``: two U-Nets (Speiser et al. 2021). ``light``: a quarter of its work, at half resolution."""
    filters: int = Field(default=48, ge=4)
    """Filters of the first stage, doubled at each down-sampling. 48 is the published size; for ``light`` take 64."""
    context: ContextKind = "time"
    """Neighbours that a frame meets: ``time``, those in the movie; ``plane``, those in the sweep; ``none``."""
    shift_px: int = 0
    """Whole pixels by which features of the next plane are moved along ``shift_axis`` to meet those of this one (the
    previous plane's by minus this). Only for context along planes."""
    shift_axis: ScanAxis = "x"
    noise_map: bool = False
    """True: each frame comes with the read noise of its pixels (sCMOS) as a second input channel."""
    predict_z: bool = True
    """False for 2-D data: z is 0 and its sigma constant."""

    @property
    def feature_px(self) -> int:
        """Side of a feature of a single frame, pixels."""
        return 2 if self.variant == "light" else 1

    @property
    def reach_px(self) -> int:
        """Farthest input pixel that an output pixel depends on, plane shift apart."""
        return RECEPTIVE_RADIUS_PX[self.variant]

    @property
    def halo_yx_px(self) -> tuple[int, int]:
        """How far around a pixel the frames must be known along y and x, so that its detection is exact.

        A detection reads the probabilities of the pixels around it (`CROWD_RADIUS_PX`). The shift adds no more than
        itself, and one pixel: it changes the phase, and the network then looks 42 to 45 px and the shift far.
        """
        halo, shift = self.reach_px + 1 + CROWD_RADIUS_PX, abs(self.shift_px)
        return halo + (shift if self.shift_axis == "y" else 0), halo + (shift if self.shift_axis == "x" else 0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.shift_px % self.feature_px:
            raise ValueError(
                f"shift_px is {self.shift_px}, but features of the light network are {self.feature_px} pixels wide; "
                f"give a multiple of {self.feature_px}, and the network learns the rest"
            )
        return self


class Scaling(Config):
    """Physical value of one network unit."""

    input_scale: float = Field(gt=0)
    """Photons; input = (photons - input_offset) / input_scale."""
    input_offset: float
    """Photons."""
    photons: float = Field(gt=0)
    """Largest photon count that can be expressed."""
    z_nm: float = Field(gt=0)
    """Largest distance from the focus that can be expressed, nm."""
    bg: float = Field(gt=0)
    """Largest background that can be expressed, photons per pixel."""
    noise_scale: float = Field(default=1.0, gt=0)
    """Photons r.m.s.; input of a noise map = (read noise - noise_offset) / noise_scale."""
    noise_offset: float = 0.0
    """Photons r.m.s."""
    x_sig: float = Field(default=1.0, gt=0)
    """Factor by which predicted sigmas of x are multiplied, so that errors have them; measured on simulated frames."""
    y_sig: float = Field(default=1.0, gt=0)
    z_sig: float = Field(default=1.0, gt=0)
    photons_sig: float = Field(default=1.0, gt=0)
    calibration: ErrorCalibration | None = None
    """Sigmas by condition, on top of the factors; the meaning of ``prob``; correlations. None: the factors alone."""

    @property
    def uncalibrated(self) -> Self:
        """The same units with the sigmas as the network predicts them."""
        return self.replace(x_sig=1.0, y_sig=1.0, z_sig=1.0, photons_sig=1.0, calibration=None)
