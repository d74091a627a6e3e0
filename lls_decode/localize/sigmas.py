"""Factors that make the sigmas of a model those of its errors.

A network learns its sigmas together with everything else and ends with ones that are somewhat too small: detections
that belong to two emitters, or to another one than the network took, have errors that its Gaussians do not know. The
factor of each sigma is the standard deviation of error / sigma over all matched detections on simulated frames of their
own, in which an error beyond five sigma counts as five: a hundred times the sigma, once in ten thousand detections,
would otherwise double the sigmas of all.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lls_decode.config import DetectionThresholds, Scaling, TrainingConfig, recorded_training
from lls_decode.emitters import Emitters
from lls_decode.errors import BundleError
from lls_decode.evaluate import Score, compare
from lls_decode.localize.thresholds import build_threshold_chooser
from lls_decode.localize.validate import build_finder, build_validator, frames_for
from lls_decode.model.bundle import ModelBundle, load_bundle, save_bundle, stored_dtype
from lls_decode.model.info import BundleInfo, bundle_digest
from lls_decode.model.network import LocNet
from lls_decode.models import find_bundle
from lls_decode.outputs import guarded
from lls_decode.table.files import output_error

_SEED = 123_456_789
"""Neither the validation frames nor those of a training seed in use."""
_EMITTERS = 20_000
_FEWEST_PAIRS = 100
_FARTHEST = 5.0
_ROUNDS = 20

logger = logging.getLogger(__name__)

Calibrator = Callable[[LocNet, BundleInfo], Scaling]


@dataclass(frozen=True)
class Recalibration:
    """A bundle with chosen thresholds and measured sigma factors."""

    bundle: Path
    scaling: Scaling
    detection: DetectionThresholds | None
    accuracy: Score
    """On the validation frames, with the new thresholds and factors."""


def build_calibrator(config: TrainingConfig, *, emitters: int = _EMITTERS) -> Calibrator:
    """Make what measures the factors of a network, on frames with about ``emitters`` targets.

    There are four times as many of these frames as of validation frames at most.

    The result gives the scaling of the network with its factors; where fewer than 100 detections match, as it was.
    """
    frames = frames_for(config, emitters)

    def calibrate(network: LocNet, info: BundleInfo) -> Scaling:
        truth, find = build_finder(config.replace(validation_frames=frames), seed=_SEED)
        compared = compare(truth, find(network, info))
        if len(compared.true) < _FEWEST_PAIRS:
            logger.warning(
                "%s: only %d of %d simulated emitters were found, too few to tell how good the predicted sigmas are",
                info.name,
                len(compared.true),
                len(truth),
            )
            return info.scaling
        return _corrected(info.scaling, compared.true, compared.seen)

    return calibrate


def _corrected(scaling: Scaling, true: Emitters, seen: Emitters) -> Scaling:
    """The scaling with which the same detections would have had errors of one sigma."""
    changes = {}
    for name, value, sigma in (
        ("x_sig", "x_nm", "x_sig"),
        ("y_sig", "y_nm", "y_sig"),
        ("z_sig", "z_nm", "z_sig"),
        ("photons_sig", "photons", "phot_sig"),
    ):
        error = getattr(seen, value) - getattr(true, value)
        if np.isfinite(error).all():  # z of 2-D data is not known
            changes[name] = getattr(scaling, name) * spread(error / getattr(seen, sigma))
    return scaling.replace(**changes)


def spread(ratio: npt.NDArray[np.float64]) -> float:
    """Standard deviation of values of which those beyond five standard deviations count as five."""
    middle, found = float(np.median(ratio)), float(np.std(ratio))
    for _ in range(_ROUNDS):
        found = float(np.std(np.clip(ratio - middle, -_FARTHEST * found, _FARTHEST * found)))
    return found


@guarded
def recalibrate(
    bundle: str | Path, out: str | Path, *, emitters: int = _EMITTERS, device: torch.device | None = None
) -> Recalibration:
    """Choose a bundle's detection thresholds and measure its sigma factors on frames simulated as for its training.

    Weights stay as they are to the bit; the accuracy in the new record is that with thresholds and factors.

    Raises
    ------
    BundleError
        The bundle does not hold the configuration of its training (an imported model).
    OutputError
        The bundle cannot be written.
    """
    bundle = find_bundle(bundle)
    old = load_bundle(bundle, device=device or torch.device("cpu"))
    configuration = old.info.training.get("configuration")
    if configuration is None:
        raise BundleError(
            f"{bundle} does not say how its training frames were simulated (it was imported from "
            f"{old.info.imported_from or 'elsewhere'}), so that its sigmas cannot be measured; fine-tune it with "
            "'lls-decode train --init-from' in place of this."
        )
    config = recorded_training(configuration, source=f"{bundle}: its training configuration")
    info = old.info.replace(detection=build_threshold_chooser(config, emitters=emitters)(old.network, old.info))
    info = info.replace(scaling=build_calibrator(config, emitters=emitters)(old.network, info))
    accuracy = build_validator(config)(old.network, info)
    provenance = {"accuracy": accuracy.to_dict(), "recalibrated_from": bundle_digest(bundle)}
    new = ModelBundle(old.network, info.replace(training=info.training | provenance))
    out = Path(out)
    try:
        save_bundle(out, new.network, new.info, dtype=stored_dtype(bundle))
    except OSError as error:
        raise output_error(out, error) from error
    return Recalibration(out, info.scaling, info.detection, accuracy)
