"""Calibration of a model's sigmas and probabilities on simulated frames.

The sigmas that a network learns are somewhat too small, because its Gaussians do not model the errors of detections
that merge two emitters or belong to the wrong one. At best they are right on average: too large for isolated emitters,
too small in dense regions. Calibration has two steps. First, each sigma gets one factor: the standard deviation of
error / sigma over all matched detections, with errors clipped at five sigma. Without clipping, one error of a hundred
sigma in ten thousand detections would increase all sigmas considerably. Second, curves make the sigmas correct in each
of many conditions (`recalibration.conditions`).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lls_decode.config import (
    DetectionThresholds,
    ErrorCalibration,
    ReliabilityPoint,
    Scaling,
    SigmaCurve,
    TrainingConfig,
    recorded_training,
)
from lls_decode.errors import BundleError
from lls_decode.evaluate import Score
from lls_decode.evaluate.calibration import share_right
from lls_decode.localize.calibrated import SIGMAS, Columns, calibrated, curve_at, error_features
from lls_decode.localize.recalibration.conditions import span_conditions
from lls_decode.localize.recalibration.correlation import measure_correlation
from lls_decode.localize.recalibration.errors import Errors, measure_errors
from lls_decode.localize.recalibration.fitting import FARTHEST, fit_sigmas
from lls_decode.localize.recalibration.probability import fit_probability
from lls_decode.localize.thresholds import build_threshold_chooser
from lls_decode.localize.validate import build_validator
from lls_decode.model.bundle import ModelBundle, load_bundle, save_bundle, stored_dtype
from lls_decode.model.info import BundleInfo, bundle_digest
from lls_decode.model.network import LocNet
from lls_decode.models import find_bundle
from lls_decode.outputs import guarded
from lls_decode.table.files import output_error

_SEED = 123_456_789
"""Seed that no training, validation or threshold choice uses; it is incremented for each condition."""
_EMITTERS = 20_000
_FEWEST_PAIRS = 100
_FEWEST_FOR_CURVES = 1000
_FEWEST_TO_JUDGE = 200
_ROUNDS = 20
_FACTORS: Mapping[str, str] = {"x": "x_sig", "y": "y_sig", "z": "z_sig", "photons": "photons_sig"}

logger = logging.getLogger(__name__)

Calibrator = Callable[[LocNet, BundleInfo], Scaling]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Recalibration:
    """A bundle with chosen thresholds and calibrated sigmas."""

    bundle: Path
    scaling: Scaling
    detection: DetectionThresholds | None
    accuracy: Score
    """Accuracy on the validation frames, with the new thresholds and sigmas."""


def build_calibrator(config: TrainingConfig, *, emitters: int = _EMITTERS) -> Calibrator:
    """Make a function that calibrates the sigmas of a network on frames with about ``emitters`` targets.

    The function returns the network's scaling with factors and calibration. If fewer than 1000 detections match, the
    scaling has factors only; if fewer than 100 match, it is unchanged.
    """

    def calibrate(network: LocNet, info: BundleInfo) -> Scaling:
        conditions = span_conditions(config, emitters)
        logger.info("calibrating the sigmas of %s on simulated frames of %d conditions", info.name, len(conditions))
        errors = measure_errors(network, info, conditions, seed=_SEED)
        if len(errors) < _FEWEST_PAIRS:
            logger.warning(
                "%s: only %d of %d simulated emitters were found, too few to calibrate the predicted sigmas",
                info.name,
                len(errors),
                errors.num_truth,
            )
            return info.scaling
        factors = {
            quantity: spread(error / errors.columns[SIGMAS[quantity]]) for quantity, error in errors.error.items()
        }
        scaling = info.scaling.uncalibrated.replace(**{_FACTORS[name]: value for name, value in factors.items()})
        if len(errors) < _FEWEST_FOR_CURVES:
            logger.warning(
                "%s: only %d of %d simulated emitters were found, so its sigmas are right on average, not in every "
                "condition, and its probabilities are not calibrated",
                info.name,
                len(errors),
                errors.num_truth,
            )
            return scaling
        return scaling.replace(calibration=fit_calibration(errors, factors, config))

    return calibrate


def fit_calibration(errors: Errors, factors: Mapping[str, float], config: TrainingConfig) -> ErrorCalibration:
    """Fit the calibration in addition to the factors of a model, and validate it on held-out conditions."""
    columns = dict(errors.columns)
    for quantity, factor in factors.items():
        columns[SIGMAS[quantity]] = columns[SIGMAS[quantity]] * np.float32(factor)
    count = int(errors.prob_condition.max()) + 1
    is_first = np.random.default_rng(_SEED).permutation(count) % 2 == 0
    judged: dict[str, list[float]] = {quantity: [] for quantity in errors.error}
    probabilities = errors.prob.copy()
    for half in (is_first, ~is_first):
        fitted = _fit(errors.select(~half), _rows(columns, ~half[errors.condition]), count)
        for quantity, found in _spreads(errors.select(half), _rows(columns, half[errors.condition]), fitted).items():
            judged[quantity] += found
        rows = half[errors.prob_condition]
        if fitted.prob is not None:
            probabilities[rows] = curve_at(errors.prob[rows].astype(np.float32), fitted.prob)
    spreads = {name: (round(min(found), 3), round(max(found), 3)) for name, found in judged.items() if found}
    shares = share_right(probabilities, errors.is_right)
    reliability = [
        ReliabilityPoint(prob=round(prob, 4), right=round(right, 4), num=num)
        for prob, right, num in zip(shares.predicted, shares.measured, shares.num, strict=True)
    ]
    final = _fit(errors, columns, count).replace(spreads=spreads, reliability=reliability)
    ratio = _ratios(errors, columns, final)
    correlation = measure_correlation(
        ratio, errors.condition, errors.molecule, errors.window, context=config.network.context
    )
    return final.replace(correlation=correlation)


def _fit(errors: Errors, columns: Columns, conditions: int) -> ErrorCalibration:
    """Fit all curves; error correlations are measured afterwards, with these curves."""
    with_z = "z" in errors.error

    def curve(quantity: str) -> SigmaCurve:
        features = error_features(columns, errors.found, quantity, with_z=with_z)
        sigma = columns[SIGMAS[quantity]].astype(np.float64)
        error = errors.error[quantity]
        # a sigma describes the scatter of errors, not their mean
        scatter = error - np.mean(_gathered(error / sigma)) * sigma
        return fit_sigmas(features, columns[SIGMAS[quantity]], scatter, errors.condition)

    weight = 1 / np.maximum(np.bincount(errors.prob_condition), _FEWEST_PAIRS)
    return ErrorCalibration(
        x=curve("x"),
        y=curve("y"),
        z=curve("z") if with_z else None,
        photons=curve("photons"),
        prob=fit_probability(errors.prob, errors.is_right, weight[errors.prob_condition]),
        conditions=conditions,
    )


def _ratios(errors: Errors, columns: Columns, calibration: ErrorCalibration) -> dict[str, Floats]:
    """Return error / calibrated sigma, by quantity."""
    better = calibrated(columns, errors.found, calibration)
    return {quantity: error / better[SIGMAS[quantity]] for quantity, error in errors.error.items()}


def _spreads(errors: Errors, columns: Columns, calibration: ErrorCalibration) -> dict[str, list[float]]:
    """Return the standard deviation of error / sigma in each condition with enough matches, by quantity."""
    count = np.bincount(errors.condition)
    return {
        quantity: [spread(ratio[errors.condition == each]) for each in np.flatnonzero(count >= _FEWEST_TO_JUDGE)]
        for quantity, ratio in _ratios(errors, columns, calibration).items()
    }


def _rows(columns: Columns, rows: npt.NDArray[np.bool_]) -> Columns:
    return {name: values[rows] for name, values in columns.items()}


def spread(ratio: npt.NDArray[np.float64]) -> float:
    """Return the standard deviation of values that are clipped at five standard deviations."""
    return float(np.std(_gathered(ratio)))


def _gathered(ratio: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Clip values at five standard deviations (of the clipped values) from the median."""
    middle = float(np.median(ratio))
    gathered, found = ratio, float(np.std(ratio))
    for _ in range(_ROUNDS):
        gathered = middle + np.clip(ratio - middle, -FARTHEST * found, FARTHEST * found)
        found = float(np.std(gathered))
    return gathered


@guarded
def recalibrate(
    bundle: str | Path, out: str | Path, *, emitters: int = _EMITTERS, device: torch.device | None = None
) -> Recalibration:
    """Choose a bundle's detection thresholds and calibrate its sigmas, on frames simulated as for its training.

    The weights do not change. The accuracy recorded in the new bundle is measured with the new thresholds and
    calibration. The result is reproducible.

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
            f"{bundle} has no record of how its training frames were simulated (it was imported from "
            f"{old.info.imported_from or 'elsewhere'}), so its sigmas cannot be calibrated; fine-tune it with "
            "'lls-decode train --init-from' instead."
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
