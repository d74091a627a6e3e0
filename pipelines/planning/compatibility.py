"""Whether the model fits the data.

What a run leaves open is settled here, and what cannot be meant is refused. No torch.
"""

from pathlib import Path

import numpy as np

from lls_decode.axes import Layout
from lls_decode.config import Camera, Geometry, PixelSize, RunConfig, ScmosCamera
from lls_decode.errors import BundleError, ConfigError, InputError
from lls_decode.frames import FrameSource
from lls_decode.model.info import BundleInfo

SMALLEST_FRAME_PX = 16
PIXEL_TOLERANCE = 0.02
"""Largest relative difference between the pixel size of the data and of the training."""
SUBPIXEL_TOLERANCE = 0.15
"""Largest difference, in pixels, between the plane-to-plane shift of the data and of the training without a note."""
CAMERA_MAPS = ("offset_adu", "gain_adu_per_e", "variance_adu2")
"""Values of an sCMOS camera that may be the path of a map."""


def resolve_config(config: RunConfig, source: FrameSource, info: BundleInfo) -> tuple[RunConfig, list[str]]:
    """Fill in camera, pixel size and geometry: the run's own, else the dataset's, else the bundle's; say which."""
    notes: list[str] = []
    camera: Camera | None = config.camera
    if isinstance(camera, ScmosCamera):
        camera = camera.resolve(Path.cwd())
    if camera is None:
        camera = info.camera
        notes.append(f"camera from the model bundle ({_camera_words(camera)})")
    elif camera.kind != info.camera.kind:
        notes.append(f"the camera is {camera.kind}, the model was trained for {info.camera.kind}")
    pixel, words = _resolve_pixel(config.pixel_size, source.pixel_size, info.pixel_size)
    notes += words
    geometry = config.geometry
    if geometry is None and info.geometry is not None:
        geometry = info.geometry
        notes.append(f"geometry from the model bundle ({geometry.describe(pixel)})")
    elif geometry is None and source.layout.planes_per_volume > 1:
        notes.append("geometry unknown: the table gets no sample coordinates (set geometry.motion and stage_step_nm)")
    rule = config.detection.resolve(info.detection)
    return config.replace(camera=camera, pixel_size=pixel, geometry=geometry, detection=rule), notes


def check_fit(config: RunConfig, layout: Layout, info: BundleInfo) -> list[str]:
    """Refuse data that the model was not made for; notes on what is merely unusual."""
    pixel, camera, geometry = config.pixel_size, config.camera, config.geometry
    assert pixel is not None  # resolved
    assert camera is not None
    if min(layout.height, layout.width) < SMALLEST_FRAME_PX:
        raise InputError(
            f"Frames have {layout.height} x {layout.width} pixels (y, x), the network needs at least "
            f"{SMALLEST_FRAME_PX} x {SMALLEST_FRAME_PX}; check the axes of the dataset (input.axes)."
        )
    if _relative_difference(pixel, info.pixel_size) > PIXEL_TOLERANCE:
        raise BundleError(
            f"The data have pixels of {_pixel_words(pixel)}, model {info.name} was trained for "
            f"{_pixel_words(info.pixel_size)} (2 % are tolerated); use a model trained for this pixel size, or set "
            "pixel_size if the dataset's metadata are wrong."
        )
    if isinstance(camera, ScmosCamera):
        for name in CAMERA_MAPS:
            _check_map(name, getattr(camera, name), layout)
    return [*_note_rule(config, info), *_check_noise_map(camera, info), *_check_context(layout, info, geometry, pixel)]


def _note_rule(config: RunConfig, info: BundleInfo) -> list[str]:
    rule = config.detection.rule
    if info.imported_from is None:
        if rule == "model" and info.detection is None:
            return [
                f"model {info.name} has no detection thresholds of its own, the published ones are used; choose them "
                "with 'lls-decode model recalibrate'"
            ]
        return []
    words = {
        "model": "with the published thresholds; for its own table --set detection.rule=authors",
        "paper": "for its own table --set detection.rule=authors",
        "authors": "which is its own, and finds faint ones too: filter the table by prob",
    }
    return [f"the model was imported from {info.imported_from}; detections by rule {rule!r}, {words[rule]}"]


def _check_noise_map(camera: Camera, info: BundleInfo) -> list[str]:
    if not info.network.noise_map:
        return []
    if not isinstance(camera, ScmosCamera):
        raise BundleError(
            f"Model {info.name} takes the read noise of each pixel of an sCMOS camera, the camera of the run is "
            f"{camera.kind}; use a model without noise_map, or give the sCMOS camera of the data."
        )
    if isinstance(camera.variance_adu2, str):
        return []
    return ["the model looks at the read noise of each pixel, but camera.variance_adu2 is one number for all"]


def _resolve_pixel(own: PixelSize | None, dataset: PixelSize | None, bundle: PixelSize) -> tuple[PixelSize, list[str]]:
    if own is not None:
        if dataset is not None and _relative_difference(own, dataset) > PIXEL_TOLERANCE:
            return own, [
                f"pixel size {_pixel_words(own)} from the configuration, where the dataset says {_pixel_words(dataset)}"
            ]
        return own, []
    if dataset is not None:
        return dataset, [f"pixel size {_pixel_words(dataset)} from the dataset"]
    return bundle, [f"pixel size {_pixel_words(bundle)} from the model bundle (the dataset has none)"]


def _check_context(layout: Layout, info: BundleInfo, geometry: Geometry | None, pixel: PixelSize) -> list[str]:
    network = info.network
    if network.context == "time":
        if layout.num_volumes == 1:
            return ["the model looks along time, but there is one volume: each frame is its own neighbour"]
        if layout.planes_per_volume > 1:
            return ["the model looks along time: the neighbours of a plane are the same plane of the next volumes"]
        return []
    if network.context == "none":
        return []
    if layout.planes_per_volume == 1:
        raise BundleError(
            f"Model {info.name} looks along the planes of a sweep, but the dataset has one plane a volume, so that no "
            "plane has a neighbour; set input.planes_per_volume, or use a model with context along time."
        )
    if geometry is None:
        return [f"the model shifts planes by {network.shift_px} px along {network.shift_axis}, unchecked"]
    shift = geometry.plane_shift_px(pixel)
    whole = geometry.whole_shift_px(pixel, multiple=network.feature_px)
    trained = f"{network.shift_px} px along {network.shift_axis}"
    if whole != network.shift_px or (whole and geometry.propagation_axis != network.shift_axis):
        raise BundleError(
            f"From plane to plane the data shift by {shift:.2f} px along {geometry.propagation_axis}, model "
            f"{info.name} was trained for {trained}; use a model trained for this geometry, or correct geometry."
        )
    if info.geometry is not None:
        other = info.geometry.plane_shift_px(info.pixel_size)
        if abs(other - shift) > SUBPIXEL_TOLERANCE:
            return [f"planes shift by {shift:.2f} px, the model was trained for {other:.2f} px"]
    return []


def _check_map(name: str, value: float | str, layout: Layout) -> None:
    if not isinstance(value, str):
        return
    advice = "give a number, or a .npy file with one finite number a pixel, cropped to the recorded part of the chip"
    try:
        values = np.load(value, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"camera.{name}: map {value} cannot be read ({error}); {advice}.") from error
    if values.shape != (layout.height, layout.width):
        raise ConfigError(
            f"camera.{name}: map {value} has shape {values.shape}, frames have {(layout.height, layout.width)} "
            f"pixels (y, x); {advice}."
        )
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise ConfigError(f"camera.{name}: map {value} ({values.dtype}) holds values that are no numbers; {advice}.")
    if name == "gain_adu_per_e" and values.min() <= 0:
        raise ConfigError(f"camera.{name}: map {value} holds {values.min():g}, a gain must be above 0; {advice}.")


def _relative_difference(one: PixelSize, other: PixelSize) -> float:
    return max(abs(one.x_nm / other.x_nm - 1), abs(one.y_nm / other.y_nm - 1))


def _pixel_words(pixel: PixelSize) -> str:
    return f"{pixel.x_nm:g} x {pixel.y_nm:g} nm (x, y)"


def _camera_words(camera: Camera) -> str:
    values = (f"{name} {value}" for name, value in camera.to_dict().items() if name != "kind")
    return f"{camera.kind}: {', '.join(values)}"
