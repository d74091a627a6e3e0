"""Ordering of frames by time and plane from named axes; ambiguous axes are an error that asks the user to choose."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lls_decode.errors import InputError
from lls_decode.movies.choices import Choices
from lls_decode.naming.choices import pick, refuse_unused

_POSITIONS = ("p", "s", "m", "r")
"""Names of position axes: positions, series, tiles, regions."""
_SEQUENCES = ("", "i", "q")
"""Names of axes of unknown meaning, along which images follow each other."""


@dataclass(frozen=True)
class Order:
    """Frames ordered by time and plane."""

    index: npt.NDArray[np.int64]
    """Index of each frame in the flattened array of all frames, shape (times, planes)."""
    is_volume: bool
    """Whether the frames form volumes, including volumes of one plane."""


def in_order(
    shape: Sequence[int], axes: Sequence[str], choices: Choices, where: object, channels: Sequence[str] = ()
) -> Order:
    """Order the frames of one channel and position by time and plane.

    Parameters
    ----------
    shape, axes
        Lengths and names of the axes in front of rows and columns.
    choices
        ``axes`` overrides the names; ``channel`` and ``position`` select one of several.
    where
        Source of the frames, for messages.
    channels
        Names of the channels; empty if they have no names.

    Raises
    ------
    InputError
        There are several channels or positions and none was chosen, or the meaning of an axis is unknown.
    """
    index: npt.NDArray[np.int64] = np.arange(math.prod(shape), dtype=np.int64).reshape(tuple(shape))
    names = [name.lower() for name in axes]
    keep = [i for i, size in enumerate(shape) if size > 1]
    index, names = index.reshape([shape[i] for i in keep]), [names[i] for i in keep]
    if choices.axes is not None:
        names = _told(choices.axes, index.shape, where)
    elif "t" not in names:
        names = _first_sequence_as_time(names)
    if len(set(names)) < len(names) or not set(names) <= {"t", "z", "c", *_POSITIONS}:
        raise InputError(
            f"{where} has {index.shape} frames along axes {_listed(names)}, expected times t, planes z, channels c and "
            "positions p at most once each; name the axes with --axes, e.g. "
            f"--axes {''.join('tzcp'[: len(names)])}yx."
        )
    if "c" not in names and choices.channel is not None and channels:
        pick(channels, choices.channel, "channel", where)
    elif "c" not in names:
        refuse_unused(where, channel=choices.channel)
    if not set(names) & set(_POSITIONS):
        refuse_unused(where, position=choices.position)
    for name in [name for name in names if name in (*_POSITIONS, "c")]:
        axis = names.index(name)
        index = np.take(index, _choose(name, index.shape[axis], channels, names, choices, where), axis=axis)
        names.remove(name)
    index = index.transpose([names.index(name) for name in ("t", "z") if name in names])
    if index.ndim == 2:
        return Order(index, is_volume=True)
    is_volume = "z" in names or (choices.axes or "").startswith("z")
    return Order(index.reshape(1, -1) if is_volume else index.reshape(-1, 1), is_volume)


def _listed(names: Sequence[str]) -> str:
    return repr("".join(name or "?" for name in names))


def _told(axes: str, shape: Sequence[int], where: object) -> list[str]:
    """Return the axis names from ``--axes``; names in front of the existing dimensions are for axes of length one."""
    letters = axes.lower()
    if not letters.endswith("yx") or len(letters) - 2 < len(shape):
        raise InputError(
            f"{where} has {tuple(shape)} frames of rows and columns, but was given axes {axes!r}; give one letter per "
            f"dimension, e.g. --axes {'tzcp'[: len(shape)]}yx."
        )
    front = letters[:-2]
    return list(front[len(front) - len(shape) :])


def _first_sequence_as_time(names: list[str]) -> list[str]:
    """Treat the first axis of unknown meaning as time."""
    known = [i for i, name in enumerate(names) if name in _SEQUENCES]
    return ["t" if i == known[0] else name for i, name in enumerate(names)] if known else names


def _choose(
    name: str, size: int, channels: Sequence[str], names: Sequence[str], choices: Choices, where: object
) -> int:
    """Return the chosen index along an axis of channels or positions."""
    if name != "c":
        return pick([str(i) for i in range(size)], choices.position, "position", where)
    values = list(channels) if len(channels) == size else [str(i) for i in range(size)]
    if choices.channel is None and not {"t", "z"} & set(names) and choices.axes is None:
        raise InputError(
            f"{where} has {size} channels: {', '.join(values[:6])}{', ...' if size > 6 else ''}; choose one with "
            "--channel, or give --axes tyx if these are frames in time."
        )
    return pick(values, choices.channel, "channel", where)
