"""Compare the versions of Python and of packages between a client and its workers.

Other interpreters execute the source of this file, so it imports only the standard library.
"""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

PYTHON, OURS = "python", "lls-decode"
SHARED = (OURS, "dask", "distributed", "numpy", "pyarrow", "torch", "zarr")
"""Packages to compare: those that pickle and run tasks, and those that compute and store rows."""
MUST_AGREE = {PYTHON, OURS, "dask", "distributed"}
"""Packages whose versions must match, since a run may otherwise fail or differ; the others affect only rounding."""


def versions_here() -> dict[str, str]:
    """Return the versions of this interpreter and its packages by name, without packages that are not installed."""
    found = {PYTHON: platform.python_version()}
    for name in SHARED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> dict[str, str]:
    """Return the differences by package name, as texts such as ``distributed 2024.8.0 (here 2026.8.0)``.

    Python's patch version and the build tag of a package (``2.13.0+cpu``) are ignored.
    """
    found = {}
    for name in (PYTHON, *SHARED):
        ours, theirs = here.get(name, "missing"), there.get(name, "missing")
        if _shortened(name, ours) != _shortened(name, theirs):
            found[name] = f"{name} {theirs} (here {ours})"
    return found


def _shortened(name: str, text: str) -> str:
    return ".".join(text.split(".")[:2]) if name == PYTHON else text.partition("+")[0]
