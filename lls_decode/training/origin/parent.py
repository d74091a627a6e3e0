"""Fine-tuning: training that starts from the weights of another model, the parent.

The scales of the parent are kept, so that its outputs have their meaning from the first step, and only the simulated
microscope changes. If the new simulation exceeds these scales, the scales are widened, and the last layers of the
parent are changed such that its predictions stay nearly the same (`origin.rescaling`).

The plane shift may differ, because it is not a weight: it only aligns features before they are combined. The context
may change from planes to time or back: the weights have the same shapes, and the training learns what the neighbours
of a frame tell. From a parent with more filters the most important channels are taken (`origin.narrowing`).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lls_decode.config import Scaling, TrainingConfig
from lls_decode.documents import read_json
from lls_decode.errors import BundleError, RunConflictError
from lls_decode.model.bundle import ModelBundle, load_bundle
from lls_decode.model.info import BundleInfo, bundle_digest
from lls_decode.table import written_aside
from lls_decode.training.origin.narrowing import narrow
from lls_decode.training.origin.rescaling import rescale
from lls_decode.training.record import choose_scaling

_TAIL_SDS = 3
"""Number of standard deviations above the mean photons that the scales must cover; brighter emitters may saturate."""


@dataclass(frozen=True)
class Parent:
    """Model that a training starts from."""

    name: str
    digest: str
    licence: str
    scaling: Scaling
    """Scales of the model, widened where the training exceeds them; sigma factors are 1, to be measured again."""
    weights: dict[str, Tensor]
    changes: tuple[str, ...] = ()
    """Sentences on how the start of the training differs from the model."""

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the digest of the model."""
        return {"name": self.name, "digest": self.digest}


def load_parent(path: str | Path, config: TrainingConfig) -> Parent:
    """Read the bundle that a training starts from.

    Raises
    ------
    BundleError
        The bundle is unreadable, or has an architecture from which the training cannot begin.
    """
    bundle = load_bundle(path)
    theirs, ours = bundle.info.network, config.network
    name = ours.find_obstacle(theirs)
    if name is not None:
        found, wanted = getattr(theirs, name), getattr(ours, name)
        raise BundleError(
            f"--init-from {path} has network.{name} {found}, but the training has {wanted}; set network.{name} to "
            f"{found}, or start from another model."
        )
    own = own_scaling(bundle)
    scaling = widened(own, config)
    weights = rescale(bundle.network.state_dict(), own, scaling)
    if ours.filters < theirs.filters:
        weights = narrow(weights, theirs, ours)
    changes = tuple(_changes(bundle.info, config, own, scaling))
    return Parent(bundle.info.name, bundle_digest(path), bundle.info.licence, scaling, weights, changes)


_NEIGHBOURS = {"plane": "the next planes of the sweep", "time": "the next frames in time"}
_SCALES = (("photons", "photons", "photons"), ("z_nm", "z", "nm"), ("bg", "background", "photons per pixel"))


def _changes(info: BundleInfo, config: TrainingConfig, own: Scaling, scaling: Scaling) -> Iterator[str]:
    """Yield one sentence for each way in which a training starts with something else than the model."""
    theirs, ours = info.network, config.network
    pixels = [f"{size.x_nm:g} x {size.y_nm:g} nm" for size in (info.pixel_size, config.simulation.pixel_size)]
    if pixels[0] != pixels[1]:
        yield f"{info.name} was trained for pixels of {pixels[0]} (x, y), and this training is for {pixels[1]}"
    if ours.filters < theirs.filters:
        yield (
            f"{info.name} has {theirs.filters} filters and this training {ours.filters}: it starts with the channels "
            f"of {info.name} that matter most, and finds little at first"
        )
    if theirs.context != ours.context:
        yield (
            f"{info.name} was trained with {_NEIGHBOURS[theirs.context]} as neighbours, and this training has "
            f"{_NEIGHBOURS[ours.context]}: it starts with the same weights"
        )
    elif theirs.shift_px != ours.shift_px or (ours.shift_px and theirs.shift_axis != ours.shift_axis):
        yield (
            f"{info.name} shifts planes by {theirs.shift_px} px along {theirs.shift_axis}, and this training by "
            f"{ours.shift_px} px along {ours.shift_axis}: it starts with the same weights"
        )
    wider = [
        f"{word} up to {getattr(scaling, name):.4g} {unit} (before: {getattr(own, name):.4g})"
        for name, word, unit in _SCALES
        if getattr(scaling, name) != getattr(own, name)
    ]
    if wider:
        yield f"this training exceeds the ranges of {info.name}, so its network now predicts {' and '.join(wider)}"


def own_scaling(bundle: ModelBundle) -> Scaling:
    """Return the scales of a model without its sigma factors, which are measured again."""
    return bundle.info.scaling.uncalibrated


def check_reach(given: str, scaling: Scaling, config: TrainingConfig) -> None:
    """Refuse a training that exceeds the scales of another model; ``given`` names the option of that model.

    Raises
    ------
    BundleError
        Photons, z or background exceed the scales.
    """
    brightest, farthest_nm, background = _largest(config)
    for what, asked, limit, unit, remedy in (
        ("photon counts", brightest, scaling.photons, "photons", "simulation.emitters.photons_mean"),
        ("distances from the focus", farthest_nm, scaling.z_nm, "nm", "simulation.emitters.z_range_nm"),
        ("backgrounds", background, scaling.bg, "photons per pixel", "simulation.background.high"),
    ):
        if asked > limit:
            raise BundleError(
                f"{given} can predict {what} up to {limit:g} {unit}, but the training has up to {asked:g}; "
                f"lower {remedy} (or variety, which extends it), or train without {given.partition(' ')[0]}."
            )


def widened(scaling: Scaling, config: TrainingConfig) -> Scaling:
    """Return scales that cover a training: the given ones, enlarged where the training exceeds them."""
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
    """Record the model of an option in a training folder, or refuse a model that differs from the recorded one.

    ``without`` describes a training without the option.

    Raises
    ------
    RunConflictError
        The training in the folder has another model for this option, or none.
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
        f"{path.parent} holds a training that started with {then}, not with {now}; give the same {option}, another "
        "--out, or delete the folder."
    )
