"""Compare the sizes that a dataset states (pixel size, z step, scan angle) with the configuration and with the model.

A contradiction is an error, because a wrong size would make every position wrong. The user resolves it by correcting
the configuration, or with `input.trust`.
"""

from lls_decode.config import Geometry, PixelSize, RunConfig
from lls_decode.errors import BundleError, ConfigError
from lls_decode.frames import FrameSource
from lls_decode.model.info import BundleInfo

SIZE_TOLERANCE = 0.02
"""Largest relative difference between two statements of the same size."""
AXIAL_TOLERANCE = 0.2
"""Largest relative difference between the step along z of the data and of the training. For a shift of 3 px from plane
to plane, the check of whole pixels tolerates about the same difference along the other axis."""
TRUST = "input.trust=configuration"
"""Setting that prefers the configuration to the sizes that the dataset states."""


def settle_pixel(config: RunConfig, source: FrameSource, info: BundleInfo) -> tuple[PixelSize, list[str]]:
    """Return the pixel size of a run, and notes on its origin.

    The pixel size is that of the configuration, else of the dataset, else of the model.

    Raises
    ------
    ConfigError
        Configuration and dataset contradict each other, and ``input.trust`` does not prefer the configuration.
    """
    own, dataset = config.pixel_size, source.pixel_size
    if own is None:
        if dataset is not None:
            return dataset, [f"pixel size {pixel_words(dataset)} from the dataset"]
        words = pixel_words(info.pixel_size)
        return info.pixel_size, [f"pixel size {words} from the model bundle (the dataset has none)"]
    if dataset is None or pixel_difference(own, dataset) <= SIZE_TOLERANCE:
        return own, []
    if config.input.trust == "configuration":
        stated = pixel_words(dataset)
        return own, [f"pixel size {pixel_words(own)} from the configuration, although the dataset states {stated}"]
    raise ConfigError(
        f"The dataset states pixels of {pixel_words(dataset)}, but the configuration {pixel_words(own)} (2 % are "
        f"tolerated); correct pixel_size or omit it, or set {TRUST} if the dataset is wrong."
    )


def check_scan(config: RunConfig, geometry: Geometry | None, source: FrameSource, info: BundleInfo) -> list[str]:
    """Compare the z step and the scan angle of a dataset with the geometry of the run.

    Some files give the z step as the travel of the stage, others as its component along the optical axis. Both are
    accepted. Returns notes on contradictions in which ``input.trust`` prefers the configuration.

    Raises
    ------
    ConfigError
        The geometry of the configuration contradicts the dataset.
    BundleError
        The geometry of the model contradicts the dataset.
    """
    if geometry is None or source.layout.planes_per_volume == 1:
        return []
    conflicts = _conflicts(geometry, source)
    if not conflicts:
        stated = source.z_step_nm is not None or source.angle_deg is not None
        return _compare_axial_steps(geometry, info, stated=stated)
    found = " and ".join(f"{name} of {stated}" for name, stated, _ in conflicts)
    expected = " and ".join(used for _, _, used in conflicts)
    if config.geometry is None:
        raise BundleError(
            f"The dataset states a {found}, but model {info.name} was trained for {expected} (2 % are tolerated); set "
            f"geometry to that of the data (with {TRUST} if the dataset is wrong), or use a model trained for it."
        )
    if config.input.trust == "configuration":
        words = f"{expected} from the configuration, although the dataset states a {found}"
        return [words, *_compare_axial_steps(geometry, info, stated=False)]
    raise ConfigError(
        f"The dataset states a {found}, but the configuration {expected} (2 % are tolerated); correct geometry, or set "
        f"{TRUST} if the dataset is wrong."
    )


def _compare_axial_steps(geometry: Geometry, info: BundleInfo, *, stated: bool) -> list[str]:
    """Compare the step along z with that of a model that has context along planes.

    A contradiction is an error if the dataset states its step or angle (``stated``), and otherwise a note.
    """
    if info.geometry is None or info.network.context != "plane":
        return []
    found, expected = geometry.axial_step_nm, info.geometry.axial_step_nm
    if abs(found / expected - 1) <= AXIAL_TOLERANCE:
        return []
    words = f"planes move by {found:.4g} nm along z, but model {info.name} was trained for {expected:.4g} nm"
    if not stated:
        return [words]
    raise BundleError(
        f"The {words} ({AXIAL_TOLERANCE:.0%} are tolerated); use a model trained for this geometry, or correct "
        f"geometry, and set {TRUST}, if the dataset is wrong."
    )


def pixel_difference(one: PixelSize, other: PixelSize) -> float:
    """Return the larger relative difference of the two sides."""
    return max(abs(one.x_nm / other.x_nm - 1), abs(one.y_nm / other.y_nm - 1))


def pixel_words(pixel: PixelSize) -> str:
    """Return a pixel size as text for messages."""
    return f"{pixel.x_nm:g} x {pixel.y_nm:g} nm (x, y)"


def _conflicts(geometry: Geometry, source: FrameSource) -> list[tuple[str, str, str]]:
    """Return the sizes in which dataset and geometry differ: name, value of the dataset, value of the geometry."""
    found = []
    step, axial = geometry.stage_step_nm, abs(geometry.axial_step_nm)
    if source.z_step_nm is not None and not any(_agree(source.z_step_nm, value) for value in (step, axial)):
        along = f" ({axial:.4g} nm along z)" if geometry.motion == "stage" else ""
        found.append(("z step", f"{source.z_step_nm:g} nm", f"a step of {step:g} nm{along}"))
    if source.angle_deg is not None and geometry.motion == "stage" and not _agree(source.angle_deg, geometry.angle_deg):
        found.append(("scan angle", f"{source.angle_deg:g} deg", f"an angle of {geometry.angle_deg:g} deg"))
    return found


def _agree(stated: float, used: float) -> bool:
    return abs(stated / used - 1) <= SIZE_TOLERANCE
