"""Write columns in Picasso's units as a file of a kind: KIND COLUMNS.npz INFO.json OUT; runs in its environment."""

import json
import sys

import numpy as np
import pandas as pd
from picasso import io

kind, columns, info, out = sys.argv[1:]
with np.load(columns) as file:
    locs = pd.DataFrame(dict(file))
with open(info) as text:
    steps = json.load(text)
write = {"hdf5": io.save_locs, "thunderstorm": io.export_thunderstorm, "smap": io.export_smap}
write[kind](out, locs, steps)
