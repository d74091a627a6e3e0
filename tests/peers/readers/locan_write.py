"""Write columns with locan's names as a file of a kind: KIND COLUMNS.npz OUT; runs in locan's environment."""

import sys

import locan
import numpy as np
import pandas as pd

kind, columns, out = sys.argv[1:]
with np.load(columns) as file:
    locdata = locan.LocData.from_dataframe(pd.DataFrame(dict(file)))
write = {"thunderstorm": locan.save_thunderstorm_csv, "smap-csv": locan.save_SMAP_csv, "smlm": locan.save_SMLM}
write[kind](locdata, out)
