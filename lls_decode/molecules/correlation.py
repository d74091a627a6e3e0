"""Correlation between the position errors of one molecule in different frames.

A network with context sees the same frames in neighbouring windows, so errors are correlated. Averaging n localizations
therefore improves the precision by less than the square root of n. The variance of a mean weighted by 1/sigma^2 is

    sum_kl rho_kl / (sigma_k sigma_l) / (sum_k 1/sigma_k^2)^2,

where rho depends on the number of frames between k and l (measured with the model, `config.ErrorCorrelation`). For each
localization, the sum includes the preceding ones in its chain, up to the length of the correlation series.
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
    """Return the correlations (3, L) of errors 1, 2, ... L frames apart; (3, 0) where the model has none on record.

    Parameters
    ----------
    model
        Description of the model bundle, from the metadata of a table.
    along
        Direction in which localizations are linked.
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
    """Most recent localizations of each molecule, newest first, as far back as errors are correlated."""

    step_HN: Integers
    """Step of each localization; `_BEGINNING` where a molecule has fewer localizations."""
    inverse_H3N: Floats
    """1 / sigma of each localization; 0 where there is no localization, or where the position along an axis is
    unknown."""

    @classmethod
    def empty(cls, length: int) -> Self:
        """Create the memory of no molecules."""
        return cls(np.empty((length, 0), dtype=np.int64), np.empty((length, 3, 0)))

    def select(self, molecules: Integers) -> Self:
        """Return the memory of selected molecules, in the given order."""
        return type(self)(self.step_HN[:, molecules], self.inverse_H3N[:, :, molecules])


def shared_errors(
    memory: Memory, step: Integers, variance_3N: Floats, previous: Integers, correlation_3L: Floats
) -> tuple[Floats, Memory]:
    """Sum the error correlations of each new localization with earlier ones of its molecule, and update the memory.

    Parameters
    ----------
    memory
        Memory of the ``M`` molecules carried over from earlier batches.
    step, variance_3N
        Steps (N,) and variances (3, N) of the new localizations; the variance of an unknown position is infinite.
    previous
        Index of each predecessor, (M + N,), with the carried molecules first; -1 where there is no predecessor.

    Returns
    -------
    Sums (3, N) over the earlier localizations of rho / (sigma_1 sigma_2), each pair counted twice; and the memory after
    each of the M + N localizations.
    """
    num_carried, length = memory.step_HN.shape[1], correlation_3L.shape[1]
    total = num_carried + len(step)
    steps = np.full((length, total + 1), _BEGINNING)  # the last column stands for "no localization"
    inverse = np.zeros((length, 3, total + 1))
    steps[:, :num_carried], inverse[:, :, :num_carried] = memory.step_HN, memory.inverse_H3N
    if length:
        steps[0, num_carried:total], inverse[0, :, num_carried:total] = step, 1 / np.sqrt(variance_3N)
    new = np.arange(num_carried, total)
    before = np.where(previous < 0, total, previous)
    back, taken = before[new], np.ones(len(new), dtype=np.int64)
    shared = np.zeros((3, len(new)))
    for place in range(1, length + 1):
        # the localization ``place`` links back: from this batch, or from the memory of a carried molecule
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
