"""Point-spread functions and illumination profiles."""

from typing import Annotated, Literal

from pydantic import Field

from lls_decode.config.base import Config


class GaussianPsf(Config):
    """Gaussian PSF with the same width at every z, for 2-D data."""

    kind: Literal["gaussian"] = "gaussian"
    sigma_nm: float = Field(gt=0)
    """Standard deviation of the Gaussian, nm."""


class AstigmaticPsf(Config):
    """Elliptical Gaussian PSF whose widths along x and y are smallest at different z.

    sigma_x(z) = sigma_x_nm * sqrt(1 + ((z - focus_x_nm) / depth_x_nm)^2), sigma_y likewise
    (Huang et al., Science 2008, without the higher orders).
    """

    kind: Literal["astigmatic"] = "astigmatic"
    sigma_x_nm: float = Field(gt=0)
    """Standard deviation along x at its focus, nm."""
    sigma_y_nm: float = Field(gt=0)
    """Standard deviation along y at its focus, nm."""
    focus_x_nm: float
    """z at which the PSF is narrowest along x, nm."""
    focus_y_nm: float
    """z at which the PSF is narrowest along y, nm."""
    depth_x_nm: float = Field(gt=0)
    """Distance from ``focus_x_nm`` at which the width along x has grown by a factor sqrt(2), nm."""
    depth_y_nm: float = Field(gt=0)
    """Distance from ``focus_y_nm`` at which the width along y has grown by a factor sqrt(2), nm."""


class SplinePsf(Config):
    """Measured PSF: a cubic spline from a bead calibration.

    Beyond the calibrated z range, the PSF equals that at the nearest limit. Its ``photons`` are those within the
    calibrated stamp in focus: the sum over the stamp is 1 in focus, and follows the measured light at other z.
    """

    kind: Literal["spline"] = "spline"
    path: str = Field(min_length=1)
    """Path of a calibration by ``lls-decode calibrate`` (``.npz``) or SMAP (``_3dcal.mat``), relative to the working
    folder."""
    content: str | None = Field(default=None, pattern="^[0-9a-f]{16}$")
    """Digest of the calibration file (sixteen hexadecimal digits); a file with other contents is refused. None: not
    checked."""


Psf = Annotated[GaussianPsf | AstigmaticPsf | SplinePsf, Field(discriminator="kind")]


class GaussianSheet(Config):
    """Light sheet with a Gaussian profile along the detection axis: excitation = exp(-z^2 / (2 sigma^2))."""

    kind: Literal["gaussian"] = "gaussian"
    sigma_nm: float = Field(gt=0)
    """Standard deviation of the sheet's profile, nm."""


class Widefield(Config):
    """Widefield illumination with the same excitation at every z."""

    kind: Literal["widefield"] = "widefield"


Illumination = Annotated[GaussianSheet | Widefield, Field(discriminator="kind")]
