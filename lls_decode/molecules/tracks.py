"""Tracking of molecules over time: their numbers, their sums, and which of them may be seen again."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lls_decode.molecules.chains import Gate, Points, find_previous, first_of_chain
from lls_decode.molecules.correlation import Memory, shared_errors
from lls_decode.molecules.sightings import Sightings

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Finished:
    """Molecules that will not be seen again, ordered by their last step, then by number."""

    number: Integers
    sums: Sightings


class Tracks:
    """Tracker of molecules over steps, fed with the sightings of one or more steps at a time.

    A molecule is open while a later sighting can still be linked to it. Open molecules are carried over between calls.
    """

    def __init__(self, gate: Gate, *, gap: int, correlation_3L: Floats) -> None:
        """``correlation_3L``: correlations of errors 1, 2, ... steps apart; (3, 0) where errors are uncorrelated."""
        self._gate, self._gap, self._correlation_3L = gate, gap, correlation_3L
        self._num = 0
        nothing = np.empty(0, dtype=np.int64)
        empty = np.empty((3, 0))
        self._open_number = nothing
        self._open_last = Points(nothing, empty, empty)
        """Last sighting of each open molecule, in the order of these sightings."""
        self._open_memory = Memory.empty(correlation_3L.shape[1])
        self._open_sums: Sightings | None = None

    def add(self, seen: Sightings, step: Integers) -> tuple[Integers, Finished]:
        """Add sightings; return the molecule number of each sighting, and the molecules that are finished.

        Parameters
        ----------
        seen
            New sightings, at least one, sorted by step and later than all sightings added before.
        step
            Step of each sighting, ``(N,)``: frame of a movie, or volume. All sightings of the last step are included.
        """
        num_open = len(self._open_number)
        points = Points(
            np.concatenate([self._open_last.step, step]),
            np.concatenate([self._open_last.position_3N, seen.position_3N], axis=1),
            np.concatenate([self._open_last.variance_3N, seen.variance_3N], axis=1),
            np.concatenate([self._open_sums.channel, seen.channel]) if self._open_sums is not None else seen.channel,
        )
        previous = find_previous(points, self._gate, gap=self._gap, num_carried=num_open)
        shared_3N, memory = shared_errors(self._open_memory, step, seen.variance_3N, previous, self._correlation_3L)
        seen = replace(seen, shared_3N=seen.shared_3N + shared_3N)
        label, num = number_chains(previous)
        number = np.concatenate([self._open_number, self._num + np.arange(num - num_open)])
        self._num += num - num_open
        sums = seen if self._open_sums is None else Sightings.concatenate([self._open_sums, seen])
        sums = sums.combine(label, num, within_volume=False)
        last = np.empty(num, dtype=np.int64)
        last[label] = np.arange(len(label))  # later indices overwrite earlier ones
        is_open = points.step[last] >= step[-1] - self._gap
        finished = self._finished(np.flatnonzero(~is_open), number, sums, points.step[last])
        still = np.flatnonzero(is_open)
        still = still[np.argsort(last[still])]
        self._open_number, self._open_sums = number[still], sums.select(still)
        kept = last[still]
        self._open_memory = memory.select(kept)
        self._open_last = Points(points.step[kept], points.position_3N[:, kept], points.variance_3N[:, kept])
        return number[label[num_open:]], finished

    def finish(self) -> Finished | None:
        """Return the remaining molecules; None if there were no sightings at all."""
        if self._open_sums is None:
            return None
        rows = np.arange(len(self._open_number))
        return self._finished(rows, self._open_number, self._open_sums, self._open_last.step)

    @staticmethod
    def _finished(rows: Integers, number: Integers, sums: Sightings, last_step: Integers) -> Finished:
        rows = rows[np.lexsort((number[rows], last_step[rows]))]
        return Finished(number[rows], sums.select(rows))


def number_chains(previous: Integers) -> tuple[Integers, int]:
    """Number the chains by first sighting; return each sighting's chain number ``(N,)`` and the number of chains."""
    number = np.cumsum(previous < 0) - 1
    return number[first_of_chain(previous)], int(np.count_nonzero(previous < 0))
