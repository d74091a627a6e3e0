"""Open each path with the plugin and save a description of the layers: PATH... OUT.npz; runs in napari's environment.

Points are saved as positions and features, named ``<number>_<name>``. For a picture the script saves the pixels of
the first level, and how many points of the first layer lie in each by napari's own transformations.
"""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from napari.components import ViewerModel
from napari.plugins import _initialize_plugins
from npe2 import PluginManifest

PLUGIN = "lls-decode"
*paths, out = sys.argv[1:]
loaded = PluginManifest.from_distribution(PLUGIN)
npe2 = Path(sys.executable).with_name("npe2")
checked = subprocess.run([npe2, "validate", "--imports", PLUGIN], capture_output=True, text=True, check=False)
assert checked.returncode == 0, checked.stdout + checked.stderr
_initialize_plugins()
viewer = ViewerModel()  # the viewer without its window, which would need OpenGL
about, found = [], {}
for number, path in enumerate(paths):
    try:
        (layer,) = viewer.open(path, plugin=PLUGIN)
    except ValueError as error:  # raised by napari if a plugin declines a path
        about.append({"error": f"{type(error).__name__}: {error}"})
        continue
    about.append(
        {
            "kind": type(layer).__name__,
            "name": layer.name,
            "units": [str(unit) for unit in layer.units],
            "axes": list(layer.axis_labels),
            "metadata": layer.metadata.get("lls_decode", {}),
        }
    )
    if about[-1]["kind"] == "Points":
        found[f"{number}_data"] = layer.data
        found[f"{number}_colour"] = layer.face_color
        found[f"{number}_size"] = layer.size
        found |= {f"{number}_{name}": np.asarray(values) for name, values in layer.features.items()}
        continue
    points = viewer.layers[0]
    level = np.asarray(layer.data[0])
    world = np.array([points.data_to_world(place) for place in points.data])[:, -level.ndim :]
    pixel = np.array([layer.world_to_data(place) for place in world])
    counts, _ = np.histogramdd(pixel, bins=[np.arange(size + 1) - 0.5 for size in level.shape])
    found[f"{number}_counts"], found[f"{number}_level"] = counts, level
    found[f"{number}_places"] = np.array([pixel.min(axis=0), pixel.max(axis=0)])
np.savez(
    out,
    about=json.dumps({"layers": about, "readers": len(loaded.contributions.readers), "version": version("napari")}),
    **found,
)
