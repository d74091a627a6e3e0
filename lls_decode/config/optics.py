"""Point-spread functions, as a microscopist would name them."""

from typing import Annotated, Literal

from pydantic import Field

from lls_decode.config.base import Config


class GaussianPsf(Config):
    """In-focus Gaussian of constant width; 2-D data."""

    kind: Literal["gaussian"] = "gaussian"
    sigma_nm: float = Field(gt=0)


class AstigmaticPsf(Config):
    """Elliptical Gaussian whose two widths have their waists at different z.

    sigma_x(z) = sigma_x_nm * sqrt(1 + ((z - focus_x_nm) / depth_x_nm)^2), sigma_y likewise
    (Huang et al., Science 2008, without the higher orders).
    """

    kind: Literal["astigmatic"] = "astigmatic"
    sigma_x_nm: float = Field(gt=0)
    sigma_y_nm: float = Field(gt=0)
    focus_x_nm: float
    focus_y_nm: float
    depth_x_nm: float = Field(gt=0)
    depth_y_nm: float = Field(gt=0)


class SplinePsf(Config):
    """Measured PSF: a cubic spline of a bead calibration.

    Beyond the calibrated z range it stays what it is at the limit. Its ``photons`` are those on the calibrated stamp in
    focus: the sum over the stamp is 1 there, and follows the measured light elsewhere.
    """

    kind: Literal["spline"] = "spline"
    path: str = Field(min_length=1)
    """Calibration by ``lls-decode calibrate`` (``.npz``) or SMAP (``_3dcal.mat``); relative to the working folder."""
    content: str | None = Field(default=None, pattern="^[0-9a-f]{16}$")
    """Sixteen hexadecimal digits of the file's contents; when given, a file of other contents is refused."""


Psf = Annotated[GaussianPsf | AstigmaticPsf | SplinePsf, Field(discriminator="kind")]


class GaussianSheet(Config):
    """Light sheet with a Gaussian profile along the detection axis: excitation = exp(-z^2 / (2 sigma^2))."""

    kind: Literal["gaussian"] = "gaussian"
    sigma_nm: float = Field(gt=0)


class Widefield(Config):
    """The same excitation at every z."""

    kind: Literal["widefield"] = "widefield"


Illumination = Annotated[GaussianSheet | Widefield, Field(discriminator="kind")]
