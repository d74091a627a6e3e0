"""Finding the images of a zarr store: plain arrays, OME-Zarr 0.4 and 0.5, bioformats2raw and HCS roots.

Only what localization needs is read from the metadata: axes, physical scale, and where level 0 lies. Lower resolution
levels are ignored. The parser is tolerant of missing values and refuses wrong ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lls_decode.errors import InputError
from lls_decode.frames.storage.keys import Keys, join, read_json

MAX_DEPTH = 4
MAX_LISTED = 12

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
_MALFORMED = (AttributeError, LookupError, TypeError, ValueError)
"""What metadata of another shape than expected give."""
_AXIS_NAMES = {"time": "t", "channel": "c", "ch": "c"}


@dataclass(frozen=True)
class Image:
    """One image: where its full-resolution array lies, and what the metadata say about it."""

    array: str
    """Path of the array inside the store; empty for the root."""
    group: str | None = None
    """Path of the OME image group; None for a plain array."""
    axes: str | None = None
    """Letters t c z y x in stored order; None when the metadata do not tell."""
    scale_nm: Mapping[str, float] = field(default_factory=dict)
    """Physical size of one step along x, y, z where it is known, nm."""
    notes: tuple[str, ...] = ()
    problem: str | None = None
    """Why the axes cannot be known; an error unless the user says what they are."""


@dataclass(frozen=True)
class Node:
    """Metadata of one array or group."""

    is_array: bool
    attributes: dict[str, Any]
    documents: tuple[dict[str, Any], ...]
    dimension_names: tuple[Any, ...] | None = None

    @property
    def ome(self) -> dict[str, Any]:
        """Attributes with those of OME-Zarr 0.5, which lie one level deeper, beside those of 0.4."""
        return {**self.attributes, **(self.attributes.get("ome") or {})}


def read_node(keys: Keys, path: str) -> Node | None:
    """Metadata at a path of the store; None when there is neither array nor group."""
    document = read_json(keys, join(path, "zarr.json"))
    if document is not None:
        names = document.get("dimension_names")
        return Node(
            is_array=document.get("node_type") == "array",
            attributes=dict(document.get("attributes") or {}),
            documents=(document,),
            dimension_names=tuple(names) if isinstance(names, list) else None,
        )
    attributes = read_json(keys, join(path, ".zattrs")) or {}
    array = read_json(keys, join(path, ".zarray"))
    if array is not None:
        names = attributes.get("_ARRAY_DIMENSIONS")
        return Node(True, attributes, (array, attributes), tuple(names) if isinstance(names, list) else None)
    group = read_json(keys, join(path, ".zgroup"))
    return None if group is None and not attributes else Node(False, attributes, (group or {}, attributes))


def select_image(keys: Keys, array: str | None) -> Image:
    """The image that is meant: the only one, or the one at ``array``.

    Raises
    ------
    InputError
        There is none, there are several and ``array`` does not tell which, or it names a reduced resolution level.
    """
    try:
        images = find_images(keys) if array is None else _images_at(keys, array.strip("/"))
    except _MALFORMED as error:
        raise InputError(
            f"{keys.name} has OME metadata that cannot be understood ({type(error).__name__}: {error}); repair "
            "them, or give the path of the array itself."
        ) from error
    if len(images) == 1:
        return images[0]
    if not images:
        where = f"{keys.name}, array {array!r}," if array is not None else keys.name
        raise InputError(
            f"{where} holds no zarr array; expected a zarr v2 or v3 array, an OME-Zarr image, or a directory of "
            "per-volume arrays."
        )
    names = [image.group or image.array for image in images]
    names = [image.array for image in images] if len(set(names)) < len(names) else names
    listed = ", ".join(names[:MAX_LISTED]) + (", ..." if len(names) > MAX_LISTED else "")
    raise InputError(
        f"{keys.name} holds {len(images)} images ({listed}); choose one with "
        f"--array {names[0]}, or give '{keys.name}/*' if all are volumes of one dataset."
    )


def image_around(store: Keys) -> Image | None:
    """What the OME image, of which an array given by its own path is a level, says about it."""
    for keys, path in store.ancestors(MAX_DEPTH):
        node = read_node(keys, "")
        if node is None or node.is_array:
            continue
        if "multiscales" in node.ome:
            try:
                images = _images_at(keys, path)
            except _MALFORMED:
                return None
            return replace(images[0], array="", group=None) if len(images) == 1 else None
    return None


def find_images(keys: Keys, path: str = "", depth: int = 0) -> list[Image]:
    """All images at or below a path of the store, in the order of the metadata."""
    node = read_node(keys, path)
    if node is None and path:
        return []
    node = node or Node(is_array=False, attributes={}, documents=())  # a zip may hold the store's folder
    if node.is_array:
        return [_plain(path, node)]
    ome = node.ome
    if "multiscales" in ome:
        return [_from_multiscale(keys, path, entry) for entry in ome["multiscales"]]
    if "plate" in ome:
        children = [str(well["path"]) for well in ome["plate"].get("wells", [])]
    elif "well" in ome:
        children = [str(image["path"]) for image in ome["well"].get("images", [])]
    elif "bioformats2raw.layout" in ome:
        children = sorted((name for name in keys.children(path) if name.isdigit()), key=int)
    else:
        children = [name for name in keys.children(path) if name not in {"labels", "OME"}]
    if depth >= MAX_DEPTH:
        return []
    return [image for name in children for image in find_images(keys, join(path, name), depth + 1)]


def _images_at(keys: Keys, path: str) -> list[Image]:
    """As `find_images`, where ``path`` may also be the array of an image: then its group knows the axes."""
    parts = path.split("/")
    for cut in range(len(parts)):
        group = "/".join(parts[:cut])
        node = read_node(keys, group)
        if node is None or node.is_array:
            continue
        for entry in node.ome.get("multiscales") or []:
            levels = [join(group, str(level["path"])) for level in entry["datasets"]]
            if path in levels[1:]:
                raise InputError(
                    f"{keys.name}: {path} is a reduced resolution level, which is useless for localization; use "
                    f"--array {levels[0]}."
                )
            if levels and path == levels[0]:
                return [_from_multiscale(keys, group, entry)]
    return find_images(keys, path)


def _plain(path: str, node: Node) -> Image:
    names = node.dimension_names
    if names is None or all(name is None for name in names):
        return Image(path)
    axes = "".join(_letter(name, None) or "?" for name in names)
    if "?" in axes or len(set(axes)) < len(axes):
        return Image(path, notes=(f"dimension names {list(names)} are not axes t, c, z, y, x and were not used",))
    return Image(path, axes=axes)


def _from_multiscale(keys: Keys, group: str, entry: Mapping[str, Any]) -> Image:
    where = f"{keys.name}: multiscales of {group or 'the root'}"
    level = entry["datasets"][0]
    array = join(group, str(level["path"]))
    if "axes" not in entry:
        return Image(array, group, notes=("the OME metadata name no axes",))
    axes, units = "", []
    for axis in entry["axes"]:
        record = axis if isinstance(axis, Mapping) else {"name": axis}
        letter = _letter(record.get("name"), record.get("type"))
        if letter is None or letter in axes:
            problem = (
                f"{where} have axis {record.get('name')!r}, expected t, c, z, y, x once each; say what the axes are"
            )
            return Image(array, group, problem=f"{problem} with --axes.")
        axes += letter
        units.append(record.get("unit"))
    scale = _scale(where, len(axes), level, entry)
    scale_nm, notes = {}, []
    for letter, unit, value in zip(axes, units, scale, strict=True):
        if letter not in "xyz" or value == 1.0:
            continue
        factor = _NM_PER_UNIT.get(str(unit).lower())
        if factor is None or not value > 0:
            notes.append(f"scale {value:g} along {letter} has unit {unit!r} and was not used")
        else:
            scale_nm[letter] = round(value * factor, 9)
    return Image(array, group, axes, scale_nm, tuple(notes))


def _scale(where: str, ndim: int, *levels: Mapping[str, Any]) -> list[float]:
    """Product of the scales of the dataset and of the group."""
    total = [1.0] * ndim
    for level in levels:
        for transform in level.get("coordinateTransformations") or []:
            if transform.get("type") != "scale" or "scale" not in transform:
                continue
            scale = transform["scale"]
            if not isinstance(scale, list) or len(scale) != ndim:
                raise InputError(f"{where} have a scale of {scale!r} for {ndim} axes; expected one number an axis.")
            total = [float(a) * float(b) for a, b in zip(total, scale, strict=True)]
    return total


def _letter(name: Any, kind: Any) -> str | None:
    if not isinstance(name, str):
        return None
    letter = _AXIS_NAMES.get(name.lower(), name.lower())
    if letter in set("tczyx"):
        return letter
    return _AXIS_NAMES.get(kind.lower()) if isinstance(kind, str) else None
