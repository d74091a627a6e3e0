"""Search for the images in a zarr store: plain arrays, OME-Zarr 0.4 to 0.6, bioformats2raw and HCS roots.

Only metadata needed for localization are read: axes, physical scale, and the path of level 0. Lower resolution levels
are ignored. The parser tolerates missing values, but raises errors for wrong values.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from lls_decode.errors import InputError
from lls_decode.frames.metadata.axis_names import FRAME_AXES, axis_letter, axis_letters, is_placeholder
from lls_decode.frames.metadata.multiscales import Image, read_multiscale
from lls_decode.frames.storage.keys import Keys, inside, join, read_json

MAX_DEPTH = 4
MAX_LISTED = 12
MOST_NODES = 50_000
"""Largest number of arrays and groups among which images are searched; a plate of 1536 wells with 9 fields has 15 361.
Links that lead back to their own folder multiply them at each depth."""

_MALFORMED = (AttributeError, LookupError, TypeError, ValueError)
"""Exceptions caused by metadata with an unexpected structure."""


@dataclass(frozen=True)
class Node:
    """Metadata of one array or group."""

    is_array: bool
    attributes: dict[str, Any]
    documents: tuple[dict[str, Any], ...]
    dimension_names: tuple[Any, ...] | None = None

    @property
    def ome(self) -> dict[str, Any]:
        """Attributes of OME-Zarr 0.4 merged with those of 0.5, which are one level deeper."""
        return {**self.attributes, **(self.attributes.get("ome") or {})}

    @property
    def has_empty_chunks(self) -> bool:
        """Whether the stated shape of the chunks has a size below 1, which some versions of zarr replace by 1."""
        stated = self.documents[0]
        grid = stated.get("chunk_grid")
        settings = grid.get("configuration") if isinstance(grid, dict) else None
        shape = settings.get("chunk_shape") if isinstance(settings, dict) else stated.get("chunks")
        return isinstance(shape, list) and any(isinstance(size, int) and size < 1 for size in shape)


def read_node(keys: Keys, path: str) -> Node | None:
    """Read the metadata at a path of the store; None if there is neither an array nor a group."""
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
    """Return the only image of the store, or the image at ``array``.

    Raises
    ------
    InputError
        There is no image, there are several and none is chosen, ``array`` is a reduced resolution level, or the first
        resolution level is not the largest.
    """
    try:
        images = find_images(keys) if array is None else _images_at(keys, array.strip("/"))
    except _MALFORMED as error:
        raise InputError(
            f"{keys.name} has invalid OME metadata ({type(error).__name__}: {error}); repair them, or give the path of "
            "the array itself."
        ) from error
    if len(images) == 1:
        _refuse_reduced_first_level(keys, images[0])
        return images[0]
    if not images:
        where = f"{keys.name}, array {array!r}," if array is not None else keys.name
        raise InputError(
            f"{where} contains no zarr array, expected a zarr v2 or v3 array, an OME-Zarr image, or a directory of "
            "per-volume arrays; check the path."
        )
    names = [image.group or image.array for image in images]
    names = [image.array for image in images] if len(set(names)) < len(names) else names
    listed = ", ".join(names[:MAX_LISTED]) + (", ..." if len(names) > MAX_LISTED else "")
    raise InputError(
        f"{keys.name} holds {len(images)} images ({listed}); choose one with "
        f"--array {names[0]}, or give '{keys.name}/*' if all are volumes of one dataset."
    )


def image_around(store: Keys) -> Image | None:
    """Return the OME image that contains an array given by its own path; None if there is no such image."""
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


def find_images(keys: Keys, path: str = "") -> list[Image]:
    """Return all images at or below a path of the store, in the order of the metadata."""
    return _images_below(keys, path, 0, [1])


def _images_below(keys: Keys, path: str, depth: int, found: list[int]) -> list[Image]:
    """Return the images at or below a path; ``found`` holds the number of arrays and groups found so far."""
    node = read_node(keys, path)
    if node is None and path:
        return []
    node = node or Node(is_array=False, attributes={}, documents=())  # a zip may contain the folder of the store
    if node.is_array:
        return [_plain(keys, path, node)]
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
    found[0] += len(children)
    if found[0] > MOST_NODES:
        raise InputError(
            f"{keys.name} has more than {MOST_NODES:,} arrays and groups, or links that lead back to their own folder; "
            "choose one image with --array, or give its path."
        )
    below = [inside(path, name) for name in children]
    return [image for child in below for image in _images_below(keys, child, depth + 1, found)]


def _images_at(keys: Keys, path: str) -> list[Image]:
    """Return the images at a path, which may also be the array of an OME image; its group then supplies the axes."""
    parts = path.split("/")
    for cut in range(len(parts)):
        group = "/".join(parts[:cut])
        node = read_node(keys, group)
        if node is None or node.is_array:
            continue
        for entry in node.ome.get("multiscales") or []:
            levels = [inside(group, str(level["path"])) for level in entry["datasets"]]
            if path not in levels:
                continue
            full = _largest(keys, levels)
            if path != levels[full]:
                raise InputError(
                    f"{keys.name}: {path} is a reduced resolution level, which cannot be used for localization; give "
                    f"--array {levels[full]}."
                )
            return [_from_multiscale(keys, group, {**entry, "datasets": [entry["datasets"][full]]})]
    return find_images(keys, path)


def _refuse_reduced_first_level(keys: Keys, image: Image) -> None:
    """Raise an error if the first resolution level of an image, which is the one that is read, is not the largest."""
    full = _largest(keys, image.levels)
    if full > 0:
        raise InputError(
            f"{keys.name}: the first resolution level of {image.group or 'the root'} is {image.levels[0]}, but "
            f"{image.levels[full]} has more pixels, expected the largest first; give --array {image.levels[full]}."
        )


def _largest(keys: Keys, levels: Sequence[str]) -> int:
    """Return the index of the level with most pixels, the first of equal ones; 0 if the first level is missing."""
    if len(levels) < 2:
        return 0
    sizes = [_num_pixels(read_node(keys, level)) for level in levels]
    return sizes.index(max(sizes)) if sizes[0] else 0


def _num_pixels(node: Node | None) -> int:
    """Return the number of pixels of an array; 0 if it is missing or its shape is damaged."""
    shape = node.documents[0].get("shape") if node is not None and node.is_array else None
    return prod(shape) if isinstance(shape, list) and all(isinstance(size, int) for size in shape) else 0


def _plain(keys: Keys, path: str, node: Node) -> Image:
    """Return the image of an array without OME metadata; names that are no names of axes are its ``problem``."""
    names = node.dimension_names
    if names is None or all(name is None for name in names):
        return Image(path)
    letters = axis_letters(names)
    if letters is not None:
        return Image(path, axes=letters, names=tuple(names))
    hints = tuple(axis_letter(name) for name in names)
    twice = [letter for letter in dict.fromkeys(hints) if letter is not None and hints.count(letter) > 1]
    if twice:
        problem = (
            f"{keys.name}, array {path or '(root)'}, names its axes {list(names)}, which names axis "
            f"{', '.join(map(repr, twice))} more than once; name the axes with --axes, one letter per dimension."
        )
        return Image(path, problem=problem)
    unknown = [name for name, letter in zip(names, hints, strict=True) if letter is None and not is_placeholder(name)]
    if unknown:
        problem = (
            f"{keys.name}, array {path or '(root)'}, names its axes {list(names)}, expected t, c, z, y and x, but "
            f"{', '.join(map(repr, unknown))} is unknown; name the axes with --axes, one letter per dimension."
        )
        return Image(path, problem=problem)
    return Image(path, hints=hints, notes=(f"dimension names {list(names)} do not identify all axes and were ignored",))


def _from_multiscale(keys: Keys, group: str, entry: dict[str, Any]) -> Image:
    """Return an OME image, with an error message in ``problem`` if its axes contradict the names in its array."""
    levels = tuple(inside(group, str(level["path"])) for level in entry["datasets"])
    image = replace(read_multiscale(f"{keys.name}: multiscales of {group or 'the root'}", group, entry), levels=levels)
    node = read_node(keys, image.array)
    if node is None or not node.is_array or image.problem is not None:
        return image
    if image.axes is None:
        plain = _plain(keys, image.array, node)
        return replace(plain, group=group, levels=levels, notes=(*image.notes, *plain.notes))
    names = node.dimension_names
    if names is None or len(names) != len(image.axes):
        return image
    pairs = [(letter, axis_letter(name)) for letter, name in zip(image.axes, names, strict=True)]
    if all(told in (None, letter) or letter not in FRAME_AXES for letter, told in pairs):
        return image
    problem = (
        f"{keys.name}: the OME metadata name the axes {image.axes!r}, but array {image.array or '(root)'} names them "
        f"{list(names)}; name the axes with --axes."
    )
    return replace(image, axes=None, names=(), scale_nm={}, problem=problem)
