"""The localization network: its architecture, and the scales between network and physical units."""

from pydantic import Field

from lls_decode.axes import ContextKind, ScanAxis
from lls_decode.config.base import Config


class NetworkConfig(Config):
    """Two stacked U-Nets (Speiser et al. 2021); ``filters=48`` is the published size."""

    filters: int = Field(default=48, ge=4)
    """Filters of the first stage; doubled at each of the two down-samplings."""
    context: ContextKind = "time"
    shift_px: int = 0
    """Whole pixels by which features of the next plane are moved along ``shift_axis`` to meet those of this one (the
    previous plane's by minus this). Only for context along planes."""
    shift_axis: ScanAxis = "x"
    noise_map: bool = False
    """True: each frame comes with the read noise of its pixels (sCMOS) as a second input channel."""
    predict_z: bool = True
    """False for 2-D data: z is 0 and its sigma constant."""


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
