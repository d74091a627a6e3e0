"""Run in Picasso's environment: KIND FILE PIXEL_NM OUT.npz; columns as Picasso has them after it has loaded a file."""

import json
import sys
from importlib.metadata import version

import numpy as np
from picasso import io

kind, path, pixel_nm, out = sys.argv[1:]
if kind == "hdf5":
    locs, info = io.load_locs(path)
elif kind == "thunderstorm":
    io.import_ts(path, float(pixel_nm))
    locs, info = io.load_locs(path.removesuffix(".csv") + "_locs.hdf5")  # what the import has saved
else:
    locs, info = io.import_smap(path, float(pixel_nm))
columns = {name: locs[name].to_numpy() for name in locs.columns}
np.savez(out, about=json.dumps({"version": version("picassosr"), "steps": info}), **columns)
