"""Measurement of a network's errors on simulated frames, together with its predictions for each detection."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lls_decode.config import TrainingConfig
from lls_decode.evaluate import match
from lls_decode.localize.calibrated import Columns
from lls_decode.localize.detect import Detections
from lls_decode.localize.place import physical_columns, to_emitters
from lls_decode.localize.validate import find_in_batch, simulate_validation, true_emitters
from lls_decode.model.info import BundleInfo
from lls_decode.model.network import LocNet

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Errors:
    """Errors of the M detections that match a true emitter, and probabilities of all D detections."""

    columns: Columns
    """Columns of the matched detections in nm and photons, with uncalibrated sigmas."""
    found: Detections
    error: dict[str, Floats]
    """Found minus true values, by quantity: ``x``, ``y``, ``z`` (nm) and ``photons``; without z for 2-D models."""
    condition: Integers
    window: Integers
    """Frame of each matched detection, (M,), ascending along a sequence."""
    molecule: Integers
    """Number of the molecule in its condition, (M,)."""
    num_truth: int
    prob: Floats
    """Summed probability of all detections, (D,)."""
    is_right: Mask
    """Whether each detection matches a true emitter, (D,)."""
    prob_condition: Integers
    """Condition of all detections, (D,)."""

    def __len__(self) -> int:
        return len(self.condition)

    def select(self, conditions: Mask) -> "Errors":
        """Return the errors of selected conditions, given by a mask over the conditions."""
        rows, all_rows = conditions[self.condition], conditions[self.prob_condition]
        return Errors(
            columns={name: values[rows] for name, values in self.columns.items()},
            found=self.found.select(rows),
            error={name: values[rows] for name, values in self.error.items()},
            condition=self.condition[rows],
            window=self.window[rows],
            molecule=self.molecule[rows],
            num_truth=self.num_truth,
            prob=self.prob[all_rows],
            is_right=self.is_right[all_rows],
            prob_condition=self.prob_condition[all_rows],
        )


def measure_errors(network: LocNet, info: BundleInfo, conditions: Sequence[TrainingConfig], *, seed: int) -> Errors:
    """Simulate frames of all conditions, and match the network's detections to the true emitters."""
    info = info.replace(scaling=info.scaling.uncalibrated)
    return _joined([_errors(network, info, config, seed + k, k) for k, config in enumerate(conditions)])


def _errors(network: LocNet, info: BundleInfo, config: TrainingConfig, seed: int, condition: int) -> Errors:
    batch = simulate_validation(config, seed=seed)
    with_z = config.network.predict_z
    truth = true_emitters(batch, with_z=with_z)
    found = find_in_batch(network, info, batch, config.sequence_frames)
    seen = to_emitters(found, info.scaling, info.pixel_size)
    pairs = match(truth, seen)
    true, own = truth.select(pairs.truth), seen.select(pairs.found)
    error = {axis: getattr(own, f"{axis}_nm") - getattr(true, f"{axis}_nm") for axis in ("xyz" if with_z else "xy")}
    matched = found.select(pairs.found)
    is_right = np.zeros(len(found), dtype=np.bool_)
    is_right[pairs.found] = True
    return Errors(
        columns=physical_columns(matched, info.scaling, info.pixel_size),
        found=matched,
        error=error | {"photons": own.photons - true.photons},
        condition=np.full(len(pairs), condition),
        window=matched.window,
        molecule=true.id,
        num_truth=len(truth),
        prob=seen.prob,
        is_right=is_right,
        prob_condition=np.full(len(found), condition),
    )


def _joined(parts: list[Errors]) -> Errors:
    def joined(name: str) -> npt.NDArray[np.generic]:
        return np.concatenate([getattr(part, name) for part in parts])

    def by_name(name: str) -> dict[str, npt.NDArray[np.generic]]:
        return {key: np.concatenate([getattr(part, name)[key] for part in parts]) for key in getattr(parts[0], name)}

    names = ("condition", "window", "molecule", "prob", "is_right", "prob_condition")
    return Errors(
        found=Detections.concatenate([part.found for part in parts]),
        num_truth=sum(part.num_truth for part in parts),
        **{name: by_name(name) for name in ("columns", "error")},  # type: ignore[arg-type]
        **{name: joined(name) for name in names},  # type: ignore[arg-type]
    )
