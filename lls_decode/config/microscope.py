"""A training configuration for another microscope: the one place where camera, pixels, sweep and PSF enter a base."""

from lls_decode.config.cameras import BaseCamera
from lls_decode.config.geometry import Geometry, PixelSize
from lls_decode.config.optics import Psf
from lls_decode.config.training import TrainingConfig


def with_microscope(
    base: TrainingConfig,
    *,
    camera: BaseCamera | None = None,
    pixel_size: PixelSize | None = None,
    geometry: Geometry | None = None,
    psf: Psf | None = None,
    frame_size: tuple[int, int] | None = None,
) -> TrainingConfig:
    """Return a base with what is known of a microscope; what is None stays that of the base.

    Parameters
    ----------
    base
        A valid training configuration. Its network keeps its kind; where it looks along the planes of a sweep, the
        shift from plane to plane becomes that of the geometry.
    camera
        Camera of the data; one with maps becomes the camera to train with (`BaseCamera.for_training`).
    pixel_size, geometry, psf
        As in `SimulationConfig`.
    frame_size
        Rows and columns of a frame, which the maps of the camera must have; None: unknown.

    Raises
    ------
    ConfigError
        A camera map cannot be read, or what is known contradicts the base.
    """
    known = {
        "camera": None if camera is None else camera.for_training(frame_size),
        "pixel_size": pixel_size,
        "geometry": geometry,
        "psf": psf,
    }
    simulation = base.simulation.replace(**{name: value for name, value in known.items() if value is not None})
    network = base.network
    if network.context == "plane" and simulation.geometry is not None:
        shift_px = simulation.geometry.whole_shift_px(simulation.pixel_size, multiple=network.feature_px)
        network = network.replace(shift_px=shift_px, shift_axis=simulation.geometry.propagation_axis)
    return base.replace(simulation=simulation, network=network)
