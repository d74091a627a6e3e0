"""From named axes to frames in the order of time and plane: names are believed, what is left open is asked for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lls_decode.errors import InputError
from lls_decode.movies.choices import Choices, pick, refuse_unused

_POSITIONS = ("p", "s", "m", "r")
"""Names of axes along which places, series, tiles or regions lie."""
_SEQUENCES = ("", "i", "q")
"""Axes of unknown meaning: one image after the other."""


@dataclass(frozen=True)
class Order:
    """Frames along time and plane."""

    index: npt.NDArray[np.int64]
    """Place of each frame in the flattened array of all, shape (times, planes)."""
    is_volume: bool
    """Whether the second axis is planes, also when it has one."""


def in_order(
    shape: Sequence[int], axes: Sequence[str], choices: Choices, where: object, channels: Sequence[str] = ()
) -> Order:
    """Put frames along named axes in the order of time and plane, one channel and position of each.

    Parameters
    ----------
    shape, axes
        Lengths and names of the axes in front of rows and columns.
    choices
        ``axes`` overrides the names; ``channel`` and ``position`` choose of several.
    where
        What holds them, for messages.
    channels
        Names of the channels, where there are any.

    Raises
    ------
    InputError
        An axis of several channels, positions, or of unknown meaning, and nothing chosen.
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
            "positions p at most once each; say what they are with --axes, e.g. "
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
    """Names of ``--axes``; leading ones beyond the dimensions have length one."""
    letters = axes.lower()
    if not letters.endswith("yx") or len(letters) - 2 < len(shape):
        raise InputError(
            f"{where} has {tuple(shape)} frames of rows and columns, but axes {axes!r}; give one letter a dimension, "
            f"e.g. --axes {'tzcp'[: len(shape)]}yx."
        )
    front = letters[:-2]
    return list(front[len(front) - len(shape) :])


def _first_sequence_as_time(names: list[str]) -> list[str]:
    """A sequence of unknown meaning is time."""
    known = [i for i, name in enumerate(names) if name in _SEQUENCES]
    return ["t" if i == known[0] else name for i, name in enumerate(names)] if known else names


def _choose(
    name: str, size: int, channels: Sequence[str], names: Sequence[str], choices: Choices, where: object
) -> int:
    """Index along an axis of channels or positions."""
    if name != "c":
        return pick([str(i) for i in range(size)], choices.position, "position", where)
    values = list(channels) if len(channels) == size else [str(i) for i in range(size)]
    if choices.channel is None and not {"t", "z"} & set(names) and choices.axes is None:
        raise InputError(
            f"{where} has {size} channels: {', '.join(values[:6])}{', ...' if size > 6 else ''}; choose one with "
            "--channel, or if they are frames, say so with --axes tyx."
        )
    return pick(values, choices.channel, "channel", where)
