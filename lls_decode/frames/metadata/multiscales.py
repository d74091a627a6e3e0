"""Parser for an entry of OME-Zarr's ``multiscales`` (0.4 to 0.6): path of level 0, its axes, and its pixel size.

Versions 0.4 and 0.5 have axes and a scale. Version 0.6 has coordinate systems and transformations between them.
Transformations that do not mix axes (scale, translation, identity, and sequences of these) are supported; others are an
error.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lls_decode.errors import InputError
from lls_decode.frames.metadata.axis_names import axis_letters
from lls_decode.frames.storage.keys import inside

_NM_PER_UNIT = {
    "angstrom": 0.1,
    "nanometer": 1.0,
    "nm": 1.0,
    "micrometer": 1e3,
    "micron": 1e3,
    "um": 1e3,
    "µm": 1e3,
    "μm": 1e3,
    "millimeter": 1e6,
    "mm": 1e6,
    "meter": 1e9,
    "m": 1e9,
}
_WITHOUT_SCALE = ("identity", "translation")
_SAY_AXES = "name the axes with --axes, and give pixel_size in a run configuration"


@dataclass(frozen=True)
class Image:
    """One image: the path of its full-resolution array, and its metadata."""

    array: str
    """Path of the array inside the store; empty for the root."""
    group: str | None = None
    """Path of the OME image group; None for a plain array."""
    axes: str | None = None
    """One letter per axis in stored order; None if the metadata do not identify the axes."""
    names: tuple[str, ...] = ()
    """Names of the axes in the metadata."""
    hints: tuple[str | None, ...] = ()
    """Letters of the axes with a known name, if only some axes have one; None for the others."""
    scale_nm: Mapping[str, float] = field(default_factory=dict)
    """Physical size of one step along x, y, z in nm, where known."""
    notes: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    """Paths of all resolution levels in the order of the metadata."""
    problem: str | None = None
    """Reason why the axes are unknown; this is an error unless the user names the axes."""


def read_multiscale(where: str, group: str, entry: Mapping[str, Any]) -> Image:
    """Read one entry of ``multiscales``; ``where`` is its name in messages.

    Raises
    ------
    InputError
        The scale does not match the axes.
    """
    level = entry["datasets"][0]
    array = inside(group, str(level["path"]))
    systems = entry.get("coordinateSystems")
    if systems is not None:
        records, transforms, problem = _in_systems(where, systems, level)
        if problem is not None:
            return Image(array, group, problem=problem)
    elif "axes" in entry:
        records = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in entry["axes"]]
        transforms = [*_transforms(level), *_transforms(entry)]
    else:
        return Image(array, group, notes=("the OME metadata name no axes",))
    names = [record.get("name") for record in records]
    axes = axis_letters(names, [record.get("type") for record in records])
    if axes is None:
        problem = f"{where} have axes {names}, expected y and x, and each axis at most once; name the axes"
        return Image(array, group, problem=f"{problem} with --axes.")
    scale_nm, notes = _scale_nm(axes, [record.get("unit") for record in records], _scale(where, len(axes), transforms))
    return Image(array, group, axes, tuple(map(str, names)), scale_nm=scale_nm, notes=tuple(notes))


def _in_systems(
    where: str, systems: Sequence[Mapping[str, Any]], level: Mapping[str, Any]
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]], str | None]:
    """Return axes and transformations of level 0 in version 0.6, or the reason why they cannot be used.

    The axes are those of the output system of the level's transformation.
    """
    named = {str(system.get("name")): system for system in systems}
    transforms = _transforms(level)
    if len(transforms) != 1:
        return [], [], f"{where} have {len(transforms)} transformations of level 0, expected one; {_SAY_AXES}."
    target = transforms[0].get("output")
    name = str(target.get("name") if isinstance(target, Mapping) else target)
    if name not in named:
        known = ", ".join(named) or "none"
        return [], [], f"{where} refer to coordinate system {name!r}, expected one of: {known}; {_SAY_AXES}."
    simple = list(_flatten(transforms[0]))
    for transform in simple:
        if transform.get("type") not in ("scale", *_WITHOUT_SCALE):
            return (
                [],
                [],
                (
                    f"{where} have a transformation of type {transform.get('type')!r}, expected scale, translation or "
                    f"identity, which do not mix axes; {_SAY_AXES}."
                ),
            )
        if "path" in transform:
            return [], [], f"{where} have a {transform.get('type')} stored in a separate array; {_SAY_AXES}."
    return list(named[name]["axes"]), simple, None


def _flatten(transform: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the transformations in a sequence."""
    if transform.get("type") != "sequence":
        yield transform
        return
    for item in transform["transformations"]:
        yield from _flatten(item)


def _transforms(part: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(part.get("coordinateTransformations") or [])


def _scale(where: str, ndim: int, transforms: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the product of all scales."""
    total = [1.0] * ndim
    for transform in transforms:
        if transform.get("type") != "scale" or "scale" not in transform:
            continue
        scale = transform["scale"]
        if not isinstance(scale, list) or len(scale) != ndim:
            raise InputError(f"{where} have a scale of {scale!r} for {ndim} axes, expected one number per axis.")
        total = [float(a) * float(b) for a, b in zip(total, scale, strict=True)]
    return total


def _scale_nm(axes: str, units: Sequence[Any], scale: Sequence[float]) -> tuple[dict[str, float], list[str]]:
    """Return the steps along x, y and z in nm, and notes on ignored values; 1.0 means an unknown size."""
    scale_nm, unused = {}, dict[str, list[str]]()
    for letter, unit, value in zip(axes, units, scale, strict=True):
        if letter not in "xyz" or value == 1.0:
            continue
        factor = _NM_PER_UNIT.get(str(unit).lower())
        if factor is None or not 0 < value * factor < math.inf:
            unused.setdefault(repr(unit), []).append(f"{value:g} along {letter}")
        else:
            scale_nm[letter] = round(value * factor, 9)
    notes = [f"scale {', '.join(steps)} has unit {unit} and was ignored" for unit, steps in unused.items()]
    if len(known := {"x", "y"} & set(scale_nm)) == 1 and not notes:
        notes = [f"the scale states a pixel size along {known.pop()} only, which was ignored"]
    return scale_nm, notes
