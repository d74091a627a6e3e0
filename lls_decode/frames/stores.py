"""Which stores a path means: one store, all stores of a directory, or those of a glob, in natural order."""

import glob
import os
import re
import stat
from functools import lru_cache
from pathlib import Path

from lls_decode.errors import InputError

_MARKERS = ("zarr.json", ".zarray", ".zgroup", ".zattrs")


def list_arrays(path: str) -> tuple[str, ...]:
    """Paths of the stores, volume after volume; the listing of a directory is made once in a process."""
    return _list_cached(path)


def forget_listings() -> None:
    """List anew what is opened from now on."""
    _list_cached.cache_clear()


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key by which ``v9`` comes before ``v10``."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts if part)


def is_store(path: str | Path) -> bool:
    """Whether a path is a zarr array or group, or a zip of one.

    Raises
    ------
    PermissionError
        That may not be known.
    """
    path = str(path)
    if path.endswith(".zip"):
        return _is_file(path)
    return any(_is_file(os.path.join(path, name)) for name in _MARKERS)


def _is_file(path: str) -> bool:
    """As `os.path.isfile`, which takes a file in a folder that may not be entered for none."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def expand(path: str) -> list[str]:
    """Matches of a glob, or the entries of a directory, in natural order; hidden ones are left out either way."""
    names = [] if has_magic(path) else [name for name in os.listdir(path) if not name.startswith(".")]
    found = glob.glob(path) if has_magic(path) else [os.path.join(path, name) for name in names]
    return sorted(found, key=natural_key)


def has_magic(path: str) -> bool:
    """Whether a path that does not exist is a pattern."""
    return glob.has_magic(path) and not os.path.exists(path)


def is_collection(path: str) -> bool:
    """Whether a path means many stores."""
    return has_magic(path) or (os.path.isdir(path) and not is_store(path))


def split_entries(path: str) -> tuple[list[str], list[str]]:
    """Entries of a directory that are stores, and those that are not.

    A name that ends with ``.zarr`` is believed: looking into each of 100 000 folders would take minutes on a cluster's
    file system, and what is no store fails with its name when it is opened.
    """
    found: list[str] = []
    others: list[str] = []
    for item in expand(path):
        (found if item.endswith(".zarr") or _is_known_store(item) else others).append(item)
    return found, others


def _is_known_store(path: str) -> bool:
    """Whether an entry of a directory is a store; one that may not be entered is as none."""
    try:
        return is_store(path)
    except PermissionError:
        return False


@lru_cache(maxsize=16)
def _list_cached(path: str) -> tuple[str, ...]:
    if "://" in path:
        raise InputError(f"{path} is an address, expected a path of a file system; copy or mount the dataset.")
    if has_magic(path):
        found, _ = split_entries(path)
        if not found:
            raise InputError(f"No zarr store matches {path}; check the pattern, and quote it in the shell.")
        return tuple(found)
    if not os.path.exists(path):
        raise InputError(f"{path} does not exist; give the path of a zarr store.")
    if os.path.isfile(path) or is_store(path):
        return (path,)
    found, _ = split_entries(path)
    if not found:
        raise InputError(
            f"{path} is no zarr store and holds none; give a zarr store, a directory of per-volume stores, or convert "
            "the files with 'lls-decode convert'."
        )
    return tuple(found)
