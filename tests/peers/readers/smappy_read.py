"""Save the columns of a file as SMAPpy loads them: KIND FILE OUT.npz; runs in SMAPpy's environment.

The kind ``csv-all`` gives SMAPpy a mapping that keeps the name of every column, instead of letting it guess.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from smappy.io import formats

kind, path, out = sys.argv[1:]
options = {}
if kind == "csv-all":
    headers, _, _ = formats.csv_columns(Path(path))
    options["mapping"] = {header: header for header in headers}
locs, info = formats.load(path, **options)
about = {"version": version("smappy-smlm"), "pixelsize_nm": info.pixelsize_nm, "format": info.format}
about |= {"smap": locs.metadata.get("smap", {})}
np.savez(out, about=json.dumps(about), **{name: np.asarray(locs[name]) for name in locs})
