"""Molecules through time: numbers, sums, and which of them may still be seen again."""

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
    """Takes sightings step by step, any number of steps at a time; carries on the molecules that are still open."""

    def __init__(self, gate: Gate, *, gap: int, correlation_3L: Floats) -> None:
        """``correlation_3L``: of errors 1, 2, ... steps apart; (3, 0) where they have nothing in common."""
        self._gate, self._gap, self._correlation_3L = gate, gap, correlation_3L
        self._num = 0
        nothing = np.empty(0, dtype=np.int64)
        empty = np.empty((3, 0))
        self._open_number = nothing
        self._open_last = Points(nothing, empty, empty)
        """The last sighting of each open molecule, in the order in which these came."""
        self._open_memory = Memory.empty(correlation_3L.shape[1])
        self._open_sums: Sightings | None = None

    def add(self, seen: Sightings, step: Integers) -> tuple[Integers, Finished]:
        """Numbers of the molecules that are seen, and those of all molecules that are finished.

        Parameters
        ----------
        seen
            At least one row; ascending in step, after all that came before.
        step
            ``(N,)`` frames of a movie, or volumes; the last one is complete.
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
        last[label] = np.arange(len(label))  # the last one written is the last
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
        """The molecules that are left; None where there were none at all."""
        if self._open_sums is None:
            return None
        rows = np.arange(len(self._open_number))
        return self._finished(rows, self._open_number, self._open_sums, self._open_last.step)

    @staticmethod
    def _finished(rows: Integers, number: Integers, sums: Sightings, last_step: Integers) -> Finished:
        rows = rows[np.lexsort((number[rows], last_step[rows]))]
        return Finished(number[rows], sums.select(rows))


def number_chains(previous: Integers) -> tuple[Integers, int]:
    """``(N,)`` numbers of chains, in the order of their first sightings, and how many chains there are."""
    number = np.cumsum(previous < 0) - 1
    return number[first_of_chain(previous)], int(np.count_nonzero(previous < 0))
