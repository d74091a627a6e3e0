"""Versions of Python and of the packages that a client shares with its workers, compared.

Other interpreters run this file as it is: it imports nothing that is not Python's own.
"""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

PYTHON, OURS = "python", "lls-decode"
SHARED = (OURS, "dask", "distributed", "numpy", "pyarrow", "torch", "zarr")
"""Tasks are pickled by one and run by the other; rows are computed by all."""
MUST_AGREE = {PYTHON, OURS, "dask", "distributed"}
"""Where these differ a run may stop in the middle, or be another run; the others change digits at most."""


def versions_here() -> dict[str, str]:
    """Versions of this interpreter and its packages by name; what is not installed is left out."""
    found = {PYTHON: platform.python_version()}
    for name in SHARED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> dict[str, str]:
    """What differs, by name, in words: ``distributed 2024.8.0 (here 2026.8.0)``.

    Python's third number does not count, nor for which device a package was built (``2.13.0+cpu``).
    """
    found = {}
    for name in (PYTHON, *SHARED):
        ours, theirs = here.get(name, "missing"), there.get(name, "missing")
        if _shortened(name, ours) != _shortened(name, theirs):
            found[name] = f"{name} {theirs} (here {ours})"
    return found


def _shortened(name: str, text: str) -> str:
    return ".".join(text.split(".")[:2]) if name == PYTHON else text.partition("+")[0]
