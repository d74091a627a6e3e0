"""The stores that a path or address refers to: one store, all stores in a directory or those matching a glob."""

import glob
import os
import stat
from functools import lru_cache
from pathlib import Path

from lls_decode.addresses import is_address, parse_address
from lls_decode.config import StorageConfig
from lls_decode.errors import InputError
from lls_decode.frames.storage.keys import METADATA
from lls_decode.frames.storage.remote import find_entries, forget_remote, is_remote_store
from lls_decode.naming.names import names_of, natural_key
from lls_decode.naming.series import in_order

DEFAULT_STORAGE = StorageConfig()


def list_arrays(path: str, storage: StorageConfig = DEFAULT_STORAGE) -> tuple[str, ...]:
    """Return the paths of the stores in the order of their names; the listing is cached per process."""
    return _list_cached(path, storage)


def forget_listings() -> None:
    """Clear the cached listings, so that directories are listed again."""
    _list_cached.cache_clear()
    forget_remote()


def is_store(path: str | Path, storage: StorageConfig = DEFAULT_STORAGE) -> bool:
    """Return whether a path is a zarr array or group, or a zip of an array or group.

    Raises
    ------
    PermissionError, AccessError
        Access is denied, so that this is unknown.
    """
    path = str(path)
    if is_address(path):
        return is_remote_store(path, storage)
    if path.endswith(".zip"):
        return _is_file(path)
    return any(_is_file(os.path.join(path, name)) for name in METADATA)


def _is_file(path: str) -> bool:
    """Return whether a path is a file; unlike `os.path.isfile`, raise PermissionError for an inaccessible folder."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def expand(path: str, storage: StorageConfig = DEFAULT_STORAGE) -> list[str]:
    """Return the matches of a glob, or the entries of a directory, in natural order and without hidden ones."""
    if is_address(path):
        return find_stores(path, storage)
    names = [] if has_magic(path) else [name for name in os.listdir(path) if not name.startswith(".")]
    found = glob.glob(path) if has_magic(path) else [os.path.join(path, name) for name in names]
    return sorted(found, key=natural_key)


def find_stores(pattern: str, storage: StorageConfig = DEFAULT_STORAGE) -> list[str]:
    """Return the addresses that match a pattern with ``*``, ``?``, ``[]`` and ``**``, in natural order."""
    return sorted(find_entries(pattern, storage), key=natural_key)


def has_magic(path: str, storage: StorageConfig = DEFAULT_STORAGE) -> bool:
    """Return whether a path is a pattern; an existing path is not a pattern."""
    if is_address(path):
        return glob.has_magic(parse_address(path).path) and not is_store(path, storage)
    return glob.has_magic(path) and not os.path.exists(path)


def is_collection(path: str, storage: StorageConfig = DEFAULT_STORAGE) -> bool:
    """Return whether a path refers to a collection of stores."""
    if is_address(path):
        return not is_store(path, storage)
    return has_magic(path) or (os.path.isdir(path) and not is_store(path))


def split_entries(path: str, storage: StorageConfig = DEFAULT_STORAGE) -> tuple[list[str], list[str]]:
    """Return the entries of a directory that are stores, and those that are not.

    Entries named ``*.zarr`` count as stores without a check, because checking 100 000 folders would take minutes on a
    cluster's file system. If such an entry is not a store, opening it raises an error.
    """
    found: list[str] = []
    others: list[str] = []
    for item in expand(path, storage):
        (found if item.endswith(".zarr") or _is_known_store(item, storage) else others).append(item)
    return found, others


def _is_known_store(path: str, storage: StorageConfig) -> bool:
    """Return whether an entry of a directory is known to be a store; an inaccessible folder is not."""
    try:
        return is_store(path, storage)
    except PermissionError:  # not `AccessError`: a remote entry that denies access may be a store
        return False


@lru_cache(maxsize=16)
def _list_cached(path: str, storage: StorageConfig) -> tuple[str, ...]:
    if has_magic(path, storage):
        found, _ = split_entries(path, storage)
        if not found:
            raise InputError(f"No zarr store matches {path}; check the pattern, and quote it in the shell.")
        return _in_order(found)
    if is_address(path):
        return _list_remote(path, storage)
    if not os.path.exists(path):
        raise InputError(f"{path} does not exist; give the path of a zarr store.")
    if os.path.isfile(path) or is_store(path):
        return (path,)
    found, _ = split_entries(path)
    if not found:
        raise InputError(
            f"{path} is not a zarr store and contains none; give a zarr store, a directory of per-volume stores, or "
            "convert the files with 'lls-decode convert'."
        )
    return _in_order(found)


def _list_remote(address: str, storage: StorageConfig) -> tuple[str, ...]:
    if is_store(address, storage):
        return (address,)
    if parse_address(address).scheme in ("http", "https"):
        raise InputError(
            f"{address} is not a zarr store: it has none of {', '.join(METADATA)}; give the address of the store "
            "itself, since folders cannot be listed over HTTP."
        )
    found, _ = split_entries(address, storage)
    if not found:
        raise InputError(
            f"{address} is not a zarr store and contains none; check the name, and give the address of a zarr store or "
            "of a folder of per-volume stores."
        )
    return _in_order(found)


def _in_order(paths: list[str]) -> tuple[str, ...]:
    """Return the paths in the order of their names, which puts ``mov.zarr`` before ``mov-1.zarr``."""
    named = dict(zip(names_of(paths), paths, strict=True))
    return tuple(named[name] for name in in_order(list(named)))
