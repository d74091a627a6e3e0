"""Complete the configuration of a run from dataset and model, and refuse data that the model does not fit. No torch."""

from pathlib import Path

from lls_decode.axes import Layout
from lls_decode.config import (
    Camera,
    DetectionRule,
    Geometry,
    ModelRule,
    PaperRule,
    PixelSize,
    ResolvedRunConfig,
    RunConfig,
)
from lls_decode.errors import BundleError, InputError, shell_command
from lls_decode.frames import FrameSource
from lls_decode.model.info import BundleInfo

from .stated_sizes import SIZE_TOLERANCE, TRUST, check_scan, pixel_difference, pixel_words, settle_pixel

SMALLEST_FRAME_PX = 16
SUBPIXEL_TOLERANCE = 0.15
"""Largest difference between the plane-to-plane shifts of the data and of the training without a note, px."""


def resolve_config(config: RunConfig, source: FrameSource, info: BundleInfo) -> tuple[ResolvedRunConfig, list[str]]:
    """Return the resolved configuration, and notes on the origin of values that it did not set.

    Camera, pixel size and geometry are those of the configuration, else of the dataset, else of the model bundle.
    """
    notes: list[str] = []
    if config.camera is None:
        camera = info.camera
        notes.append(f"camera from the model bundle ({camera.describe()})")
    else:
        camera = config.camera.resolve(Path.cwd())
    if camera.kind != info.camera.kind:
        notes.append(
            f"the camera is {camera.kind}, but the model was trained for {info.camera.kind}, whose noise differs: "
            "sigmas and probabilities may be wrong; check them with 'lls-decode spike-in', or train for this camera"
        )
    pixel, words = settle_pixel(config, source, info)
    notes += words
    geometry = config.geometry
    if geometry is None and info.geometry is not None:
        geometry = info.geometry
        notes.append(f"geometry from the model bundle ({geometry.describe(pixel)})")
    elif geometry is None and source.layout.planes_per_volume > 1:
        notes.append("geometry unknown: the table gets no sample coordinates (set geometry.motion and stage_step_nm)")
    notes += check_scan(config, geometry, source, info)
    config = config.model_copy(update={"detection": config.detection.resolve(info.detection)})
    return config.resolve(camera=camera, pixel_size=pixel, geometry=geometry), notes


def check_compatibility(config: ResolvedRunConfig, layout: Layout, info: BundleInfo) -> list[str]:
    """Check that the model suits the data, and return notes on unusual, but possible combinations.

    Raises
    ------
    InputError
        The frames are too small.
    BundleError
        The model was trained for other data.
    """
    pixel, camera, geometry = config.pixel_size, config.camera, config.geometry
    if min(layout.height, layout.width) < SMALLEST_FRAME_PX:
        raise InputError(
            f"Frames have {layout.height} x {layout.width} pixels (y, x), but the network needs at least "
            f"{SMALLEST_FRAME_PX} x {SMALLEST_FRAME_PX}; check the axes of the dataset (input.axes)."
        )
    if pixel_difference(pixel, info.pixel_size) > SIZE_TOLERANCE:
        raise BundleError(
            f"The data have pixels of {pixel_words(pixel)}, model {info.name} was trained for "
            f"{pixel_words(info.pixel_size)} (2 % are tolerated); use a model trained for this pixel size, or "
            f"set pixel_size (with {TRUST} if the metadata of the dataset are wrong)."
        )
    return [*_check_noise_map(camera, info), *_check_context(layout, info, geometry, pixel)]


def _published(rule: DetectionRule, info: BundleInfo) -> str:
    """Return the thresholds that neither configuration nor model gives, with their published values, as text."""
    if not isinstance(rule, ModelRule) or info.detection is not None:
        return ""
    values = {name: getattr(PaperRule(), name) for name in ("candidate", "confident", "accept")}
    return ", ".join(f"{name} {value:g}" for name, value in values.items() if getattr(rule, name) is None)


def note_thresholds(rule: DetectionRule, info: BundleInfo, bundle: Path) -> list[str]:
    """Return notes on the detection thresholds of a run, from the rule of its configuration before it is resolved."""
    published = _published(rule, info)
    if info.imported_from is None:
        if not published:
            return []
        better = shell_command("model", "recalibrate", bundle, "--out", f"{bundle.stem}-recalibrated.lls")
        return [
            f"model {info.name} has no detection thresholds of its own, so published ones are used ({published}); "
            f"thresholds chosen for the model usually find more: use the copy that '{better}' writes"
        ]
    own = f"with published thresholds ({published})" if published else "with the thresholds of the configuration"
    same = "for the table that its authors' program gives, use --set detection.rule=authors"
    words = {
        "model": f"{own}; {same}",
        "paper": same,
        "authors": "as its authors' program does, which also finds faint emitters: filter the table by prob",
    }
    return [f"the model was imported from {info.imported_from}; detections by rule {rule.rule!r}, {words[rule.rule]}"]


def _check_noise_map(camera: Camera, info: BundleInfo) -> list[str]:
    if not info.network.noise_map:
        return []
    if camera.NOISE_MAP is None:
        raise BundleError(
            f"Model {info.name} needs the read noise of each pixel of an sCMOS camera, but the camera of the run is "
            f"{camera.kind}; use a model without noise_map, or set the sCMOS camera of the data."
        )
    if camera.NOISE_MAP in camera.map_paths():
        return []
    return [f"the model uses the read noise of each pixel, but camera.{camera.NOISE_MAP} is one number for all pixels"]


def _check_context(layout: Layout, info: BundleInfo, geometry: Geometry | None, pixel: PixelSize) -> list[str]:
    network = info.network
    if network.context == "time":
        if layout.num_volumes == 1:
            return ["the model has context along time, but there is one volume: each frame is its own neighbour"]
        if layout.planes_per_volume > 1:
            return [
                "the model has context along time: the neighbours of a plane are the same plane of the adjacent volumes"
            ]
        return []
    if network.context == "none":
        return []
    if layout.planes_per_volume == 1:
        raise BundleError(
            f"Model {info.name} has context along the planes of a sweep, but the dataset has one plane per volume, so "
            "no plane has a neighbour; set input.planes_per_volume, or use a model with context along time."
        )
    if geometry is None:
        return [
            f"the model shifts planes by {network.shift_px} px along {network.shift_axis}, which cannot be checked "
            "without the geometry of the data"
        ]
    shift = geometry.plane_shift_px(pixel)
    whole = geometry.whole_shift_px(pixel, multiple=network.feature_px)
    trained = f"{network.shift_px} px along {network.shift_axis}"
    if whole != network.shift_px or (whole and geometry.propagation_axis != network.shift_axis):
        raise BundleError(
            f"From plane to plane the data shift by {shift:.2f} px along {geometry.propagation_axis}, but model "
            f"{info.name} was trained for {trained}; use a model trained for this geometry, or correct geometry."
        )
    if info.geometry is not None:
        other = info.geometry.plane_shift_px(info.pixel_size)
        if abs(other - shift) > SUBPIXEL_TOLERANCE:
            return [f"planes shift by {shift:.2f} px, but the model was trained for {other:.2f} px"]
    return []
