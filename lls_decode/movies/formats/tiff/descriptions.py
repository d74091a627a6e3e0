"""Metadata in the tags of TIFF files: descriptions by ImageJ, tifffile and Micro-Manager, and the resolution tags."""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

from lls_decode.documents import parse_json
from lls_decode.movies.formats.tiff.pages import DESCRIPTION, MICRO_MANAGER, SHAPED, Pages
from lls_decode.movies.lengths import NO_SIZES, Sizes, length_nm, stated_sizes

_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_TAG_UNITS = {2: "inch", 3: "cm"}
_DIGITS = 6
"""Significant digits of sizes in resolution tags, which are fractions of 32-bit integers."""
MAX_TAG_NM = 10_000.0
"""Largest pixel size that is accepted from resolution tags. Programs without calibration write 72 to 1200 dots per
inch, which are pixels of 21 to 353 um; camera pixels are smaller than 10 um, even without magnification."""


@dataclass(frozen=True)
class Description:
    """Axes and sizes from the metadata of one program."""

    origin: str
    """Source of the description, for messages."""
    axes: tuple[str, ...] = ()
    """Names of the axes in front of rows and columns, slowest first."""
    shape: tuple[int, ...] = ()
    problem: str = ""
    """Inconsistency within the description; empty if there is none."""
    sizes: Sizes = NO_SIZES
    more: int = 0
    """Number of frames announced by the descriptions of further pages."""

    @property
    def num_frames(self) -> int | None:
        """Number of announced frames; None if no number is announced."""
        return prod(self.shape) + self.more if self.shape or self.more else None


def text_of(pages: Pages) -> str:
    """Return the description of the first page."""
    data = pages.first.get(DESCRIPTION, b"")
    if not isinstance(data, bytes):
        return ""
    try:
        return data.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return data.rstrip(b"\0").decode("latin-1")  # old programs write the micro sign in Latin-1


def describe(pages: Pages) -> Description:
    """Read the description of a file that is not an OME-TIFF."""
    text = text_of(pages)
    if text.startswith("ImageJ="):
        found = _imagej(text, pages)
    elif SHAPED.match(text.encode()):
        found = _shaped(text, pages)
    else:
        found = Description("its list of pages")
    return _with_sizes(found, pages)


def _imagej(text: str, pages: Pages) -> Description:
    """Read ImageJ's description: number of images, and their axes with channels fastest, or planes with ``order=zct``.

    ImageJ calls the frames of any stack slices by default. They are treated as planes if the file is a hyperstack or
    states a spacing, and otherwise as a sequence of unknown meaning, which later counts as time.
    """
    facts = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    names = {"t": "frames", "z": "slices", "c": "channels"}
    order = facts.get("order", "czt").strip().lower()
    slowest_first = reversed(order) if sorted(order) == sorted(names) else "tzc"
    sizes = {axis: _count(facts.get(names[axis])) for axis in slowest_first}
    axes = tuple(axis for axis, size in sizes.items() if size > 1)
    shape = tuple(sizes[axis] for axis in axes)
    images = _count(facts.get("images"))
    unit = facts.get("unit", "")
    problem = ""
    if not axes and images > 1:
        axes, shape = ("",), (images,)
    elif "images" in facts and images != prod(shape):
        problem = f"its description states images={images}, but its axes make {' x '.join(map(str, shape)) or 1}"
        axes, shape = ("",), (images,)
    elif axes == ("z",) and "hyperstack" not in facts and "spacing" not in facts:
        axes = ("",)
    units = {"x": unit, "y": facts.get("yunit", unit), "z": facts.get("zunit", unit)}
    stated: dict[str, tuple[object, str]] = {"z": (facts.get("spacing"), units["z"])}
    if unit:
        stated |= {axis: (size, units[axis]) for axis, size in _resolution(pages).items()}
    return Description("its ImageJ description", axes, shape, problem, stated_sizes(stated, digits=_DIGITS))


def _count(text: str | None) -> int:
    return int(text) if text is not None and text.strip().isdigit() else 1


def _shaped(text: str, pages: Pages) -> Description:
    """Read tifffile's description: the shape of one array, and the names of its axes if present."""
    facts = as_json(text)
    shape, axes = shaped(facts, pages.layouts[0].shape)
    others = pages.described
    told = {axis: (facts.get(f"PhysicalSize{axis}"), str(facts.get(f"PhysicalSize{axis}Unit", "um"))) for axis in "XYZ"}
    sizes = stated_sizes({axis.lower(): size for axis, size in told.items()})
    return Description(
        "its description",
        axes,
        shape,
        more=sum(prod(shaped(as_json(text), pages.layout_at(number).shape)[0]) for number, text in others.items()),
        sizes=sizes.or_else(stated_sizes({"z": (facts.get("spacing"), str(facts.get("unit", "")))})),
    )


def shaped(facts: dict[str, Any], frame: tuple[int, int]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return shape and axes in front of rows and columns from tifffile's description of an array."""
    try:
        shape = tuple(int(size) for size in facts["shape"])
    except (KeyError, TypeError, ValueError):
        return (), ()
    if shape[-2:] != frame:
        return (), ()
    letters = str(facts.get("axes", "")).lower()
    names = tuple(letters) if len(letters) == len(shape) and letters.endswith("yx") else ("",) * len(shape)
    return shape[:-2], names[:-2]


def as_json(data: str | bytes) -> dict[str, Any]:
    """Parse a JSON object; return an empty one if the text is not a JSON object."""
    try:
        document = parse_json(data.rstrip(b"\0") if isinstance(data, bytes) else data)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def announced_by_micro_manager(pages: Pages, found: Description) -> Description:
    """Use the number of frames in Micro-Manager's summary, if all are at one position.

    A file of an interrupted acquisition has no other description.
    """
    summary = as_json(pages.summary)
    if summary.get("Positions", 1) not in (0, 1):
        return found
    planes_first = summary.get("SlicesFirst")
    keys = {"t": "Frames", "z": "Slices", "c": "Channels"}
    axes = [axis for axis in ("tcz" if planes_first else "tzc") if _many(summary.get(keys[axis]))]
    if not axes:
        return found
    shape = tuple(summary[keys[axis]] for axis in axes)
    if {"z", "c"} <= set(axes) and not isinstance(planes_first, bool):
        problem = (
            f"its Micro-Manager summary announces {' x '.join(map(str, shape))} frames, but not whether planes or "
            "channels follow each other"
        )
        return replace(found, problem=problem)
    return replace(found, origin="its Micro-Manager summary", axes=tuple(axes), shape=shape)


def _many(size: Any) -> bool:
    return isinstance(size, int) and size > 1


def micro_manager_sizes(*documents: dict[str, Any]) -> Sizes:
    """Return pixel size and z step from Micro-Manager's metadata of an image or an acquisition."""
    sizes = NO_SIZES
    for told in documents:
        for key in ("PixelSizeUm", "PixelSize_um"):
            sizes = sizes.or_else(stated_sizes(dict.fromkeys("xy", (told.get(key), "um"))))
        for key in ("z-step_um", "ZStepUm", "z_step_um"):
            sizes = sizes.or_else(stated_sizes({"z": (told.get(key), "um")}))
    return sizes


def _with_sizes(found: Description, pages: Pages) -> Description:
    """Fill in missing sizes from Micro-Manager's metadata and the resolution tags."""
    image = as_json(pages.first.get(MICRO_MANAGER, b"") or b"")
    sizes = found.sizes.or_else(micro_manager_sizes(image, as_json(pages.summary)))
    if sizes.pixel_size is None:
        unit = _TAG_UNITS.get(pages.first.get(_RESOLUTION_UNIT, 2), "")
        tags = {axis: (size, unit) for axis, size in _resolution(pages).items()}
        if all((length_nm(*told) or 0.0) <= MAX_TAG_NM for told in tags.values()):
            sizes = sizes.or_else(stated_sizes(tags, digits=_DIGITS))
    return replace(found, sizes=sizes)


def _resolution(pages: Pages) -> dict[str, float]:
    """Return the pixel sizes in the resolution tags, which count pixels per unit."""
    values = {axis: pages.first.get(tag) for axis, tag in (("x", _X_RESOLUTION), ("y", _Y_RESOLUTION))}
    return {axis: value[1] / value[0] for axis, value in values.items() if isinstance(value, tuple) and 0 not in value}
