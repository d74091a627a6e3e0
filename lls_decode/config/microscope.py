"""Adapt a training configuration to another microscope: replace its camera, pixel size, geometry and PSF."""

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
    """Return a training configuration with the given properties of a microscope; None keeps those of the base.

    Parameters
    ----------
    base
        A valid training configuration. Its network is kept, except that the plane shift of a network with context along
        planes is set from the geometry.
    camera
        Camera of the data; a camera with maps is converted for training (`BaseCamera.for_training`).
    pixel_size, geometry, psf
        As in `SimulationConfig`.
    frame_size
        Rows and columns of a frame, which camera maps must match; None: unknown.

    Raises
    ------
    ConfigError
        A camera map cannot be read, or the given values contradict the base.
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
