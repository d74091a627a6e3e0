"""The choice among candidate pairs, for all that pairs points: detections with truths, sightings with sightings."""

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def best_first(one: Integers, other: Integers, *, num_one: int, num_other: int) -> Integers:
    """Take the best pair of all again and again, each side once; gives the places of the pairs that are taken.

    Works in rounds: a pair that is the best of both its ends would be taken before anything touches it.

    Parameters
    ----------
    one, other
        ``(K,)`` the two ends of each candidate pair, best pair first.
    num_one, num_other
        Ends are numbered below these.
    """
    chosen: list[Integers] = []
    left = np.arange(len(one))
    best_one, best_other = np.empty(num_one, dtype=np.int64), np.empty(num_other, dtype=np.int64)
    taken_one, taken_other = np.zeros(num_one, dtype=np.bool_), np.zeros(num_other, dtype=np.bool_)
    while len(left):
        i, j = one[left], other[left]
        best_one[i[::-1]] = left[::-1]  # pairs are sorted: the last one written is the best
        best_other[j[::-1]] = left[::-1]
        mutual = (best_one[i] == left) & (best_other[j] == left)
        chosen.append(left[mutual])
        taken_one[i[mutual]] = True
        taken_other[j[mutual]] = True
        left = left[~(taken_one[i] | taken_other[j])]
    return np.concatenate(chosen) if chosen else np.empty(0, dtype=np.int64)
