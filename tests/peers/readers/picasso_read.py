"""Save the columns of a file as Picasso loads them: KIND FILE PIXEL_NM OUT.npz; runs in Picasso's environment."""

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
    locs, info = io.load_locs(path.removesuffix(".csv") + "_locs.hdf5")  # file that the import saved
else:
    locs, info = io.import_smap(path, float(pixel_nm))
columns = {name: locs[name].to_numpy() for name in locs.columns}
np.savez(out, about=json.dumps({"version": version("picassosr"), "steps": info}), **columns)
