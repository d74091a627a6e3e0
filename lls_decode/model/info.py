"""Record of a model bundle, read without torch.

A bundle is one safetensors file: eight bytes with the length of the header, a JSON header with the record of lls-decode
under ``__metadata__["lls_decode"]``, then the weights.
"""

import hashlib
from pathlib import Path
from typing import Any

from pydantic import Field

from lls_decode.axes import Layout
from lls_decode.blocks import Tile, plan_part
from lls_decode.config import (
    STRIDE,
    Camera,
    Config,
    DetectionThresholds,
    Geometry,
    NetworkConfig,
    PixelSize,
    Psf,
    Roi,
    Scaling,
    parse,
)
from lls_decode.documents import open_regular_file, parse_json
from lls_decode.errors import BundleError, ConfigError
from lls_decode.model.weights import LARGEST_HEADER_BYTES
from lls_decode.outputs import note_read

METADATA_KEY = "lls_decode"
FORMAT_VERSION = 1


class BundleInfo(Config):
    """Record in a bundle: everything needed to use the weights, and their provenance."""

    format_version: int = FORMAT_VERSION
    name: str
    network: NetworkConfig
    scaling: Scaling
    pixel_size: PixelSize
    camera: Camera
    psf: Psf | None
    """PSF that the model was trained for; None: unknown, as for imported models."""
    geometry: Geometry | None = None
    z_range_nm: tuple[float, float]
    """Range of z of the training targets, nm."""
    photons_range: tuple[float, float]
    """Range of photons per frame of the training emitters: mean minus and plus two standard deviations."""
    bg_range: tuple[float, float]
    """Range of the training background, photons per pixel."""
    detection: DetectionThresholds | None = None
    """Thresholds chosen on validation frames; None: not measured, and ``rule: model`` uses the published thresholds."""
    licence: str = "BSD-3-Clause"
    training: dict[str, Any] = Field(default_factory=dict)
    """Provenance of the weights: configuration, seed, steps, training curve, measured accuracy, software."""

    @property
    def imported_from(self) -> str | None:
        """Name of the program that trained the model; None: lls-decode."""
        program = self.training.get("imported_from")
        return None if program is None else str(program)

    def describe_depth(self) -> str:
        """Return the range of z as text."""
        low, high = self.z_range_nm
        return f"z {low:g} to {high:g} nm" if self.network.predict_z else "two-dimensional"

    def tile_of(self, roi: Roi | None, layout: Layout) -> Tile | None:
        """Return the tile of a region of the frame, with the halo that the network needs; None for the whole frame."""
        if roi is None:
            return None
        halo = self.network.halo_yx_px
        return plan_part(layout.height, layout.width, y=roi.y, x=roi.x, halo_yx_px=halo, multiple=STRIDE)


def read_bundle_info(path: str | Path) -> BundleInfo:
    """Read the record of a bundle.

    Raises
    ------
    BundleError
        The file is missing, not a bundle, or has another format version.
    """
    path = Path(path)
    note_read(path)
    advice = "give a .lls file written by 'lls-decode train'"
    try:
        with open_regular_file(path) as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(path.stat().st_size, LARGEST_HEADER_BYTES):
                raise BundleError(f"{path} is not a model bundle (no safetensors header); {advice}.")
            header = parse_json(file.read(length))
    except OSError as error:
        raise BundleError(f"Model bundle {path} cannot be read ({error.strerror}); {advice}.") from error
    except ValueError as error:
        raise BundleError(f"{path} is not a model bundle (its header is not JSON); {advice}.") from error
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    record = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
    if not isinstance(record, str):
        raise BundleError(f"{path} holds tensors but no '{METADATA_KEY}' record; {advice}.")
    try:
        data = parse_json(record)
        version = data.get("format_version")
    except (ValueError, AttributeError) as error:
        raise BundleError(f"{path}: its '{METADATA_KEY}' record is damaged ({error}); {advice}.") from error
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{path} has bundle format {version}, but this program reads {FORMAT_VERSION}; use a matching version."
        )
    try:
        return parse(BundleInfo, data, source=str(path))
    except ConfigError as error:
        raise BundleError(str(error)) from error


def bundle_digest(path: str | Path) -> str:
    """Return sixteen hexadecimal digits that identify the whole file, weights and record."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
