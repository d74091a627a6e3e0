"""Versions of Python and of the packages that a client shares with its workers, compared.

Other interpreters run this file as it is: it imports nothing that is not Python's own.
"""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

PYTHON, OURS = "python", "lls-decode"
SHARED = (OURS, "dask", "distributed", "numpy", "pyarrow", "torch", "zarr")
"""Tasks are pickled by one and run by the other; rows are computed by all."""


def versions_here() -> dict[str, str]:
    """Versions of this interpreter and its packages by name; what is not installed is left out."""
    found = {PYTHON: platform.python_version()}
    for name in SHARED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """What differs, in words: ``distributed 2024.8.0 (here 2026.8.0)``. Of Python the second number still counts."""
    found = []
    for name in (PYTHON, *SHARED):
        ours, theirs = here.get(name), there.get(name)
        if name == PYTHON and ours and theirs and ours.split(".")[:2] == theirs.split(".")[:2]:
            continue
        if ours != theirs:
            found.append(f"{name} {theirs or 'missing'} (here {ours or 'missing'})")
    return found
