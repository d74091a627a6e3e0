"""Checks at the start of a training: its PSF covers the configuration, and its folder belongs to it."""

import logging
from pathlib import Path

from lls_decode.config import SplinePsf, TrainingConfig, describe_changes, load
from lls_decode.errors import ConfigError, RunConflictError
from lls_decode.optics import build_psf
from lls_decode.table import written_aside
from lls_decode.table.files import check_replaceable
from lls_decode.training.origin.parent import Parent, claim_model
from lls_decode.training.origin.teacher import Teacher

_SPARSE_PER_UM2 = 0.15
"""Density below which a training is called sparse, emitters per square micrometre."""

logger = logging.getLogger(__name__)


def check_psf(config: TrainingConfig) -> None:
    """Refuse a z range that the PSF does not cover, or crops smaller than a spot; reads the file of a spline PSF."""
    simulation = config.simulation
    model = build_psf(simulation.psf, pixel=simulation.pixel_size)
    low, high = simulation.emitters.z_range_nm
    if isinstance(simulation.psf, SplinePsf) and config.network.predict_z and model.z_range_nm is not None:
        first, last = model.z_range_nm
        if low < first or high > last:
            raise ConfigError(
                f"simulation.emitters.z_range_nm runs from {low:g} to {high:g} nm, but the PSF {simulation.psf.path} "
                f"is calibrated only from {first:g} to {last:g} nm; narrow z_range_nm (z_render_nm may be wider)."
            )
    radius_px = model.radius_px((low, high))
    if config.crop_px < radius_px:
        raise ConfigError(
            f"crop_px is {config.crop_px}, but the spot reaches {radius_px} px from its centre within z_range_nm; "
            "raise crop_px, or narrow z_range_nm."
        )


def warn_of_sparse(config: TrainingConfig) -> None:
    """Warn if the configured density is so low that the network would see few emitters."""
    emitters = config.simulation.emitters
    highest = emitters.density_per_um2 * (1 + emitters.density_spread)
    if highest < _SPARSE_PER_UM2:
        logger.warning(
            "simulation.emitters.density_per_um2 is %g (at most %.2g with its spread): the network will learn slowly, "
            "and will not learn to separate neighbours; set 0.3 or more (variety adds sparse frames anyway)",
            emitters.density_per_um2,
            highest,
        )


def claim_folder(out: Path, config: TrainingConfig, parent: Parent | None, teacher: Teacher | None) -> None:
    """Claim a folder for this training; refuse a folder that holds another training."""
    path = out / "training.yaml"
    try:
        out.mkdir(parents=True, exist_ok=True)
        fresh = not path.exists()
        if not fresh and (held := load(TrainingConfig, path)) != config:
            found = describe_changes(held.to_dict(), config.to_dict())
            changes = "; ".join(f"{key}: {change}" for key, change in found.items())
            raise RunConflictError(
                f"{out} holds a training with another configuration ({changes}); give another --out, or delete the "
                "folder."
            )
        if fresh:
            for name in ("curve.csv", "curve.png", "checkpoint.json", f"{config.name}.lls"):
                check_replaceable(out / name)
        begins = None if parent is None else parent.to_dict()
        claim_model(out / "parent.json", begins, option="--init-from", without="random weights", fresh=fresh)
        learns = None if teacher is None else teacher.to_dict()
        claim_model(out / "teacher.json", learns, option="--teacher", without="no teacher", fresh=fresh)
        if fresh:
            with written_aside(path) as aside:
                aside.write_text(config.to_yaml(), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"Training folder {out} cannot be used ({error.strerror}); give another --out.") from error
