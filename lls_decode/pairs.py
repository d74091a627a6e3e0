"""Greedy choice among candidate pairs of points, e.g. of detections and true emitters, or of two localizations."""

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def best_first(one: Integers, other: Integers, *, num_one: int, num_other: int) -> Integers:
    """Choose pairs greedily, best pair first, using each point at most once; return the indices of the chosen pairs.

    The function works in rounds: a pair that is the best pair of both its points can be chosen at once.

    Parameters
    ----------
    one, other
        ``(K,)`` numbers of the two points of each candidate pair, best pair first.
    num_one, num_other
        Number of points on each side.
    """
    chosen: list[Integers] = []
    left = np.arange(len(one))
    best_one, best_other = np.empty(num_one, dtype=np.int64), np.empty(num_other, dtype=np.int64)
    taken_one, taken_other = np.zeros(num_one, dtype=np.bool_), np.zeros(num_other, dtype=np.bool_)
    while len(left):
        i, j = one[left], other[left]
        best_one[i[::-1]] = left[::-1]  # pairs are sorted and written in reverse: the last one written is the best
        best_other[j[::-1]] = left[::-1]
        mutual = (best_one[i] == left) & (best_other[j] == left)
        chosen.append(left[mutual])
        taken_one[i[mutual]] = True
        taken_other[j[mutual]] = True
        left = left[~(taken_one[i] | taken_other[j])]
    return np.concatenate(chosen) if chosen else np.empty(0, dtype=np.int64)
