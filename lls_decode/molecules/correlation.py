"""What the errors of one molecule in different frames have in common.

Neighbouring windows of a network with context share frames, so that the mean of n detections is less precise than
root n says. Of a mean weighted by 1/sigma^2 the variance is

    sum_kl rho_kl / (sigma_k sigma_l) / (sum_k 1/sigma_k^2)^2,

where rho depends on how many frames lie between k and l (measured with the model, `config.ErrorCorrelation`). The pairs
of a molecule are found by going back along its chain, as many detections as the series of correlations is long.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from lls_decode.config import ErrorCorrelation, parse

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_BEGINNING = -1


def correlation_of(model: Mapping[str, Any], along: Literal["time", "plane"]) -> Floats:
    """Return the correlations (3, L) one frame apart, two, ...; (3, 0) where the model of a table does not know them.

    Parameters
    ----------
    model
        What the bundle says of itself, from the metadata of a table.
    along
        Direction in which detections are linked.
    """
    calibration = (model.get("scaling") or {}).get("calibration") or {}
    record = calibration.get("correlation")
    if record is None or record.get("along") != along:
        return np.empty((3, 0))
    found = parse(ErrorCorrelation, record, source="the model in the metadata of the table")
    series = [found.x, found.y, found.z]
    result = np.zeros((3, max(len(each) for each in series)))
    for row, each in zip(result, series, strict=True):
        row[: len(each)] = each
    return result


@dataclass(frozen=True)
class Memory:
    """The latest detections of some molecules, newest first, as far back as errors are correlated."""

    step_HN: Integers
    """Their steps; `_BEGINNING` where there is none."""
    inverse_H3N: Floats
    """1 / sigma; 0 where there is none, or an axis is not known."""

    @classmethod
    def empty(cls, length: int) -> Self:
        """Of no molecules."""
        return cls(np.empty((length, 0), dtype=np.int64), np.empty((length, 3, 0)))

    def select(self, molecules: Integers) -> Self:
        """Some molecules, in the order given."""
        return type(self)(self.step_HN[:, molecules], self.inverse_H3N[:, :, molecules])


def shared_errors(
    memory: Memory, step: Integers, variance_3N: Floats, previous: Integers, correlation_3L: Floats
) -> tuple[Floats, Memory]:
    """Return what each new detection shares with earlier ones of its molecule, and the memory of all detections.

    Parameters
    ----------
    memory
        Of the ``M`` molecules that are carried on.
    step, variance_3N
        (N,) and (3, N) of new detections; infinite variance along an axis that is not known.
    previous
        (M + N,) the detection that each one follows, -1 where it is the first: carried molecules come first.

    Returns
    -------
    (3, N) sums over earlier detections, each pair counted twice; and the memory (of M + N) as it is after each.
    """
    num_carried, length = memory.step_HN.shape[1], correlation_3L.shape[1]
    total = num_carried + len(step)
    steps = np.full((length, total + 1), _BEGINNING)  # the last column is of no detection
    inverse = np.zeros((length, 3, total + 1))
    steps[:, :num_carried], inverse[:, :, :num_carried] = memory.step_HN, memory.inverse_H3N
    if length:
        steps[0, num_carried:total], inverse[0, :, num_carried:total] = step, 1 / np.sqrt(variance_3N)
    new = np.arange(num_carried, total)
    before = np.where(previous < 0, total, previous)
    back, taken = before[new], np.ones(len(new), dtype=np.int64)
    shared = np.zeros((3, len(new)))
    for place in range(1, length + 1):
        # the detection ``place`` before: of this batch, or one that its carried molecule remembers
        is_carried = back < num_carried
        depth = np.where(is_carried, taken - 1, 0)
        gone = depth >= length
        source, depth = np.where(gone, total, back), np.where(gone, 0, depth)
        earlier, weight = steps[depth, source], inverse[depth, :, source].T
        apart = step - earlier
        known = (earlier != _BEGINNING) & (apart <= length)
        rho = np.where(known, correlation_3L[:, np.where(known, apart - 1, 0)], 0.0)
        shared += 2 * rho * weight * inverse[0][:, new]
        if place < length:
            steps[place, new] = np.where(known, earlier, _BEGINNING)
            inverse[place, :, new] = np.where(known, weight, 0.0).T
        follows = np.append(before, total)[back]
        taken = np.where(is_carried, taken + 1, 1)
        back = np.where(is_carried, back, follows)
    return shared, Memory(steps[:, :total], inverse[:, :, :total])
