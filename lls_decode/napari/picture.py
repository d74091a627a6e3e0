"""Rendered OME-Zarr as a layer of napari, placed as its metadata state.

General OME-Zarr plugins may ignore the translation of a picture; it would then not lie under its points.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import zarr

from lls_decode.documents import read_json
from lls_decode.errors import InputError
from lls_decode.outputs import PROGRAM

_MARK: Final = PROGRAM.partition(" ")[0]


def is_rendered(path: str | Path) -> bool:
    """Return whether a store has the mark of a picture or volume written by ``lls-decode render``."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        attributes = read_json(Path(path) / "zarr.json")["attributes"]
        is_ours = str(attributes["written_by"]).startswith(f"{_MARK} ")
        return is_ours and attributes["ome"]["multiscales"][0]["type"] == "mean"
    return False


def picture_layer(path: str | Path) -> tuple[Any, dict[str, Any], str]:
    """Read a rendered OME-Zarr as data for an Image layer of napari.

    Returns
    -------
    data
        The levels, each a lazy Dask array.
    arguments
        Arguments of ``napari.layers.Image``: scale, and translation of the first pixel's centre, in nm.
    kind
        ``"image"``.

    Raises
    ------
    InputError
        The store lacks the metadata or one of the levels.
    """
    import dask.array as da

    try:
        root = zarr.open_group(path, mode="r")
        ome: Any = root.attrs["ome"]
        multiscale = ome["multiscales"][0]
        levels = [da.from_zarr(root[level["path"]]) for level in multiscale["datasets"]]
        transforms = multiscale["datasets"][0]["coordinateTransformations"]
        scale, translate = ({step["type"]: step[step["type"]] for step in transforms}[kind]
                            for kind in ("scale", "translation"))  # fmt: skip
        window = ome["omero"]["channels"][0]["window"]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{path} is not a complete picture ({type(error).__name__}: {error}); render it again with 'lls-decode "
            "render'."
        ) from error
    arguments = {
        "name": Path(path).stem,
        "multiscale": True,
        "scale": tuple(scale),
        "translate": tuple(translate),
        "units": ("nm",) * len(scale),
        "axis_labels": tuple(axis["name"] for axis in multiscale["axes"]),
        "contrast_limits": (window["start"], max(window["end"], window["start"] + 1e-6)),
        "colormap": "gray",
        "blending": "additive",
    }
    return levels, arguments, "image"
