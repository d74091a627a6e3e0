"""Configuration of the localization network: its architecture, and the scales between network and physical units."""

from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator

from lls_decode.axes import ContextKind, NetworkVariant, ScanAxis
from lls_decode.config.base import Config
from lls_decode.config.calibration import ErrorCalibration

MOST_FILTERS = 512
"""Largest number of filters; such a network has 250 million parameters (1 GB), a hundred times the published size."""
STRIDE = 4
"""Number of pixels that frame sides must be multiples of; shifting a frame by it shifts the features alike."""
RECEPTIVE_RADIUS_PX: Mapping[NetworkVariant, int] = {"published": 44, "light": 34}
"""Radius of the receptive field in pixels, found by exact gradients, without the plane shift."""
CROWD_RADIUS_PX = 4
"""Half-width in pixels of the square around a detection in which probabilities of other emitters are summed."""

_ARCHITECTURE = ("variant", "filters", "context", "noise_map", "predict_z")
"""Settings that determine the shapes of the weights and the meaning of inputs and outputs."""


class NetworkConfig(Config):
    """Two stacked networks: one for each frame, one for windows of three."""

    variant: NetworkVariant = "published"
    """Architecture. ``published``: two U-Nets (Speiser et al. 2021). ``light``: a network with a quarter of the
    computation, at half resolution."""
    filters: int = Field(default=48, ge=4, le=MOST_FILTERS)
    """Number of filters of the first stage, doubled at each down-sampling. 48 is the published size; use 64 for
    ``light``."""
    context: ContextKind = "time"
    """Neighbouring frames that the network also sees. ``time``: frames before and after; ``plane``: neighbouring planes
    of the sweep; ``none``: no other frames."""
    shift_px: int = 0
    """Shift that aligns the features of the next plane with those of this plane along ``shift_axis``, whole pixels; the
    previous plane is shifted the other way. Only for context along planes."""
    shift_axis: ScanAxis = "x"
    """Camera axis of ``shift_px``."""
    noise_map: bool = False
    """Whether each frame has the read noise of its pixels (sCMOS) as a second input channel."""
    predict_z: bool = True
    """Whether z is predicted. False for 2-D data: z is 0 and its sigma is constant."""

    @property
    def feature_px(self) -> int:
        """Side of a feature of a single frame, pixels."""
        return 2 if self.variant == "light" else 1

    @property
    def reach_px(self) -> int:
        """Radius of the receptive field in pixels, without the plane shift."""
        return RECEPTIVE_RADIUS_PX[self.variant]

    @property
    def halo_yx_px(self) -> tuple[int, int]:
        """Distance along y and x, in pixels, to which frames must be known around a pixel for an exact detection.

        A detection reads the probabilities of the pixels around it (`CROWD_RADIUS_PX`). The plane shift adds itself and
        one pixel, because it changes the phase: the receptive radius is then 42 to 45 px plus the shift.
        """
        halo, shift = self.reach_px + 1 + CROWD_RADIUS_PX, abs(self.shift_px)
        return halo + (shift if self.shift_axis == "y" else 0), halo + (shift if self.shift_axis == "x" else 0)

    def find_obstacle(self, start: "NetworkConfig") -> str | None:
        """Return the setting that prevents a training of this network from starting with another one; None if it can.

        The context may change from planes to time or back, because the weights have the same shapes. A network with
        fewer filters starts with some channels of a published network.
        """
        may_differ = set()
        if start.variant == "published" and self.filters < start.filters:
            may_differ.add("filters")
        if "none" not in (start.context, self.context):
            may_differ.add("context")
        names = (name for name in _ARCHITECTURE if name not in may_differ)
        return next((name for name in names if getattr(start, name) != getattr(self, name)), None)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.shift_px % self.feature_px:
            raise ValueError(
                f"shift_px is {self.shift_px}, but features of the light network are {self.feature_px} pixels wide; "
                f"give the nearest multiple of {self.feature_px}; the network learns the remaining shift"
            )
        return self


class Scaling(Config):
    """Conversion between network units and physical units."""

    input_scale: float = Field(gt=0)
    """Scale of the network input, photons: input = (photons - input_offset) / input_scale."""
    input_offset: float
    """Offset of the network input, photons."""
    photons: float = Field(gt=0)
    """Largest photon count that the network can predict."""
    z_nm: float = Field(gt=0)
    """Largest distance from the focus that the network can predict, nm."""
    bg: float = Field(gt=0)
    """Largest background that the network can predict, photons per pixel."""
    noise_scale: float = Field(default=1.0, gt=0)
    """Scale of the noise map, photons r.m.s.: input = (read noise - noise_offset) / noise_scale."""
    noise_offset: float = 0.0
    """Offset of the noise map, photons r.m.s."""
    x_sig: float = Field(default=1.0, gt=0)
    """Factor that makes predicted sigmas of x match the actual errors; measured on simulated frames."""
    y_sig: float = Field(default=1.0, gt=0)
    """Factor of the predicted sigmas of y, as for x."""
    z_sig: float = Field(default=1.0, gt=0)
    """Factor of the predicted sigmas of z, as for x."""
    photons_sig: float = Field(default=1.0, gt=0)
    """Factor of the predicted sigmas of photons, as for x."""
    calibration: ErrorCalibration | None = None
    """Calibration applied after the factors: sigmas by condition, ``prob``, and error correlations. None: factors
    only."""

    @property
    def uncalibrated(self) -> Self:
        """Copy with the sigmas as the network predicts them: all factors 1, no calibration."""
        return self.replace(x_sig=1.0, y_sig=1.0, z_sig=1.0, photons_sig=1.0, calibration=None)
