"""Save the columns and units of a file as locan loads them: KIND FILE OUT.npz; runs in locan's environment."""

import json
import sys
from importlib.metadata import version

import locan
import numpy as np

kind, path, out = sys.argv[1:]
LOAD = {
    "thunderstorm": locan.load_thunderstorm_file,
    "smap": locan.load_SMAP_file,
    "decode": locan.load_decode_file,
    "smlm": locan.load_SMLM_file,
    "csv": locan.load_txt_file,
}
locdata = LOAD[kind](path)
units = {item.name: item.unit for item in locdata.meta.localization_properties}
columns = {name: locdata.data[name].to_numpy() for name in locdata.data.columns}
np.savez(out, about=json.dumps({"version": version("locan"), "units": units}), **columns)
