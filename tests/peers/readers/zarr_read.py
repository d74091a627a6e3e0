"""Save the pixels of each level and their positions as a program reads them: PROGRAM FOLDER OUT.npz.

The program ``napari`` is the reader that napari calls, whose result describes a layer.
"""

import json
import sys
from importlib.metadata import version

import numpy as np

program, path, out = sys.argv[1:]
if program == "ngff-zarr":
    import ngff_zarr

    images = ngff_zarr.from_ngff_zarr(path, validate=True).images
    levels = [image.data for image in images]
    axes = list(images[0].dims)
    about = {
        "axes": axes,
        "units": [images[0].axes_units[axis] for axis in axes],
        "scale": [[image.scale[axis] for axis in axes] for image in images],
        "translation": [[image.translation[axis] for axis in axes] for image in images],
    }
elif program == "ome-zarr":
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    (node,) = Reader(parse_url(path))()
    levels, transformations = node.data, node.metadata["coordinateTransformations"]
    about = {
        "axes": [axis["name"] for axis in node.metadata["axes"]],
        "units": [axis["unit"] for axis in node.metadata["axes"]],
        **{
            kind: [steps[number][kind] for steps in transformations]
            for number, kind in enumerate(("scale", "translation"))
        },
    }
else:
    from napari_ome_zarr import napari_get_reader

    ((levels, layer, kind),) = napari_get_reader(path)(path)
    about = {"kind": kind, "axes": list(layer["axis_labels"]), "units": list(layer["units"])}
    about |= {"scale": layer["scale"], "translation": layer["affine"].translate.tolist()}
    about["brightness"] = list(layer["contrast_limits"])
about["version"] = version("napari-ome-zarr" if program == "napari" else program)
np.savez(out, about=json.dumps(about), **{str(number): np.asarray(level) for number, level in enumerate(levels)})
