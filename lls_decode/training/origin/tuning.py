"""Training configuration for fine-tuning: the configuration of the parent model with the user's PSF.

A trained network already knows spots, overlaps and noise, so it learns another PSF of the same kind in minutes. The
learning rate is lower than for training from scratch, and there are fewer steps.
"""

import logging
from pathlib import Path

from lls_decode.config import SplinePsf, TrainingConfig, Variety, recorded_training, with_microscope
from lls_decode.errors import BundleError, ConfigError
from lls_decode.model.bundle import load_bundle
from lls_decode.optics import build_psf, read_spline, spline_psf

_STEPS, _LEARNING_RATE = 2000, 6e-4
_AVERAGE_DECAY = 0.998

logger = logging.getLogger(__name__)


def tuning_config(parent: str | Path, *, psf: str | Path | None = None) -> TrainingConfig:
    """Return the configuration for fine-tuning a model.

    Parameters
    ----------
    parent
        Bundle to start from; its record holds the configuration of its training.
    psf
        PSF from ``calibrate`` or SMAP, which also sets pixel size and z range; None: that of the parent.

    Raises
    ------
    BundleError
        The bundle does not hold the configuration of its training (an imported model).
    ConfigError
        The PSF cannot be read, or has no z in common with the parent.
    """
    info = load_bundle(parent).info
    record = info.training.get("configuration")
    if record is None:
        raise BundleError(
            f"{parent} does not contain the configuration of its training (it was imported from "
            f"{info.imported_from or 'elsewhere'}); give a configuration for the fine-tuning with --config."
        )
    config = recorded_training(record, source=f"{parent}: its training configuration")
    config = config.replace(
        name=f"{config.name}-tuned",
        variety=config.variety or Variety(),
        average_decay=config.average_decay or _AVERAGE_DECAY,
        steps=_STEPS,
        minutes=None,
        learning_rate=min(config.learning_rate, _LEARNING_RATE),
        validate_every=min(config.validate_every, _STEPS // 4),
        restart=config.restart if config.restart and config.restart.after_steps <= _STEPS else None,
        early_stop=None,
        schedule="one-cycle",
        precision=config.portable_precision,
    )
    return config if psf is None else with_psf(config, psf, origin=info.name)


def with_psf(config: TrainingConfig, psf: str | Path, *, origin: str | None = None) -> TrainingConfig:
    """Return a configuration with another PSF, the PSF's pixel size, and the z range that both have in common.

    The choices are logged; ``origin`` names what the other values come from, by default the configuration.
    """
    origin = config.name if origin is None else origin
    spline = read_spline(psf)
    known = with_microscope(config, psf=spline_psf(psf), pixel_size=spline.pixel)
    simulation = known.simulation
    assert isinstance(simulation.psf, SplinePsf)
    first, last = build_psf(simulation.psf, pixel=simulation.pixel_size).z_range_nm or (0.0, 0.0)
    low, high = simulation.emitters.z_range_nm
    size = simulation.pixel_size
    pixels = f"pixels of {size.x_nm:g} x {size.y_nm:g} nm (x, y)"
    if spline.pixel is None:
        pixels += f" as for {origin}, because the file does not state their size"
    others = f"camera, photons, background and density are those of {origin}"
    if not config.network.predict_z:
        logger.info("PSF %s: %s; %s", psf, pixels, others)
        return known
    common = max(low, first), min(high, last)
    if common[0] >= common[1]:
        raise ConfigError(
            f"The PSF {psf} is calibrated from {first:g} to {last:g} nm, but the model was trained from {low:g} to "
            f"{high:g} nm; calibrate through the focus, or start from another model."
        )
    logger.info("PSF %s: %s, z from %g to %g nm; %s", psf, pixels, *common, others)
    rendered = simulation.emitters.z_rendered_nm
    emitters = simulation.emitters.replace(
        z_range_nm=common, z_render_nm=(min(rendered[0], common[0]), max(rendered[1], common[1]))
    )
    return known.replace(simulation=simulation.replace(emitters=emitters))
