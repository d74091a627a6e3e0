"""Fine-tuning: a training that begins with the weights of another model.

The scales of the parent are kept, so that its outputs mean from the first step on what they meant, and only the
simulated microscope changes. Where the new simulation goes beyond what these scales can express, they are widened and
the last layers of the parent changed, so that it says nearly the same in the wider scales (`origin.rescaling`).

The plane shift may differ: it is no weight, but says how features are brought together before they meet. The neighbours
of a frame may be planes for the parent and moments for the training, or the reverse: the weights have the same shapes,
and the training learns what the neighbours tell. A parent with more filters gives the channels that matter most
(`origin.narrowing`).
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lls_decode.config import Scaling, TrainingConfig
from lls_decode.documents import read_json
from lls_decode.errors import BundleError, RunConflictError
from lls_decode.model.bundle import ModelBundle, load_bundle
from lls_decode.model.info import bundle_digest
from lls_decode.table import written_aside
from lls_decode.training.origin.narrowing import narrow
from lls_decode.training.origin.rescaling import rescale
from lls_decode.training.record import choose_scaling

logger = logging.getLogger(__name__)

_ARCHITECTURE = ("variant", "filters", "context", "noise_map", "predict_z")
_TAIL_SDS = 3
"""Emitters brighter than the mean by more than this many standard deviations need not be expressed."""


@dataclass(frozen=True)
class Parent:
    """The model that a training begins with."""

    name: str
    digest: str
    licence: str
    scaling: Scaling
    """Its own, widened where the training goes beyond it, with the sigma factors 1: those are measured again."""
    weights: dict[str, Tensor]

    def to_dict(self) -> dict[str, Any]:
        """Which model it is."""
        return {"name": self.name, "digest": self.digest}


def load_parent(path: str | Path, config: TrainingConfig) -> Parent:
    """Read the bundle to begin with.

    Raises
    ------
    BundleError
        The bundle is unreadable, or has an architecture from which the training cannot begin.
    """
    bundle = load_bundle(path)
    theirs, ours = bundle.info.network, config.network
    is_narrower = theirs.variant == "published" and ours.filters < theirs.filters
    is_other_context = theirs.context != ours.context and "none" not in (theirs.context, ours.context)
    allowed = {"filters"} if is_narrower else set()
    if is_other_context:
        allowed.add("context")
        logger.info(
            "%s was trained on neighbours in %s; this training has neighbours in %s", path, theirs.context, ours.context
        )
    for name in _ARCHITECTURE:
        found, wanted = getattr(theirs, name), getattr(ours, name)
        if found != wanted and name not in allowed:
            raise BundleError(
                f"--init-from {path} has network.{name} {found}, the training has {wanted}; set network.{name} to "
                f"{found}, or begin with another model."
            )
    own = own_scaling(bundle)
    scaling = widened(own, config)
    weights = rescale(bundle.network.state_dict(), own, scaling)
    if is_narrower:
        weights = narrow(weights, theirs, ours)
    return Parent(bundle.info.name, bundle_digest(path), bundle.info.licence, scaling, weights)


def own_scaling(bundle: ModelBundle) -> Scaling:
    """The scales of a model without the factors of its sigmas, which are measured anew."""
    return bundle.info.scaling.uncalibrated


def check_reach(given: str, scaling: Scaling, config: TrainingConfig) -> None:
    """Refuse a training whose light cannot be expressed in another model's scales; ``given`` names the option.

    Raises
    ------
    BundleError
        Photons, z or background go beyond the scales.
    """
    brightest, farthest_nm, background = _largest(config)
    for what, asked, limit, unit, remedy in (
        ("photon counts", brightest, scaling.photons, "photons", "simulation.emitters.photons_mean"),
        ("distances from the focus", farthest_nm, scaling.z_nm, "nm", "simulation.emitters.z_range_nm"),
        ("backgrounds", background, scaling.bg, "photons per pixel", "simulation.background.high"),
    ):
        if asked > limit:
            raise BundleError(
                f"{given} can express {what} up to {limit:g} {unit}, the training has them up to {asked:g}; "
                f"lower {remedy} (or variety, which goes beyond it), or train without {given.partition(' ')[0]}."
            )


def widened(scaling: Scaling, config: TrainingConfig) -> Scaling:
    """Return scales in which a training can be expressed: larger only where it goes beyond the given ones."""
    chosen = choose_scaling(config)
    names = ("photons", "z_nm", "bg")
    beyond = [name for name, asked in zip(names, _largest(config), strict=True) if asked > getattr(scaling, name)]
    return scaling.replace(**{name: getattr(chosen, name) for name in beyond})


def _largest(config: TrainingConfig) -> tuple[float, float, float]:
    """Return the largest photon count, distance from the focus (nm) and background that a training has."""
    emitters = config.simulation.emitters
    stated = emitters.photons_mean + _TAIL_SDS * emitters.photons_sd
    brightest = max(stated, config.brightest_photons or 0.0)
    farthest_nm = max(abs(z) for z in emitters.z_range_nm) if config.network.predict_z else 0.0
    return brightest, farthest_nm, config.background_extremes[1]


def claim_model(path: Path, model: dict[str, Any] | None, *, option: str, without: str, fresh: bool) -> None:
    """Record in a training folder which model an option names, or refuse another one than is recorded.

    ``without`` is what a training has that was given none.

    Raises
    ------
    RunConflictError
        The training of the folder has another model in this place, or none.
    """
    if fresh:
        if model is not None:
            with written_aside(path) as aside:
                aside.write_text(json.dumps(model), encoding="utf-8")
        return
    recorded = read_json(path) if path.exists() else None
    if recorded == model:
        return
    then, now = (
        without if given is None else f"the model {given['name']} ({given['digest']})" for given in (recorded, model)
    )
    raise RunConflictError(
        f"{path.parent} holds a training that began with {then}, not with {now}; give the same {option}, another "
        "--out, or delete the folder."
    )
