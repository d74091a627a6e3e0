"""Access to the files of a zarr store by key: existence, size, bytes, which zarr does not expose for chunks.

One protocol, `Keys`, covers all kinds of store: a directory, a zip of a directory, and both at an address (`remote`,
`remote_zip`).
"""

import os
import zipfile
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import zarr
from zarr.abc.store import Store
from zarr.storage import LocalStore, ZipStore

from lls_decode.documents import MOST_DOCUMENT_BYTES, DocumentError, open_regular_file, parse_json
from lls_decode.errors import InputError

if TYPE_CHECKING:
    ZarrArray = zarr.Array[Any]
else:  # older zarr cannot be subscripted
    ZarrArray = zarr.Array


METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
"""Names of metadata documents; a folder with one of them is an array or group."""
_LONGEST_PATH = 1000
"""Largest number of characters of a path in metadata; file systems allow 4096 for whole paths."""


class Keys(Protocol):
    """Access to the files of one store."""

    reads_at_once: int
    """Number of chunks to request at the same time; 1: reading by zarr alone is fast."""

    @property
    def name(self) -> str:
        """Name of this store in messages."""

    def size(self, key: str) -> int | None:
        """Return the size of a file in bytes; None if it does not exist."""

    def read(self, key: str, start: int = 0, length: int = -1) -> bytes:
        """Return ``length`` bytes from ``start``, or all remaining bytes if ``length`` is negative."""

    def children(self, key: str) -> list[str]:
        """Return the names of the folders directly below a key."""

    def ancestors(self, most: int) -> "Iterator[tuple[Keys, str]]":
        """Yield the folders above the store, nearest first, with the path of the store in each."""

    def open_store(self) -> Store:
        """Return the same files as a read-only zarr store."""


class DirectoryKeys:
    """Access to a store in a directory; keys are paths relative to it."""

    reads_at_once = 1

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def name(self) -> str:
        """Name of this store in messages."""
        return str(self.root)

    def size(self, key: str) -> int | None:
        """Return the size of a file in bytes; None if it does not exist."""
        try:
            return os.stat(self.root / key).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, key: str, start: int = 0, length: int = -1) -> bytes:
        """Return ``length`` bytes from ``start``, or all remaining bytes if ``length`` is negative."""
        with open_regular_file(self.root / key) as file:
            file.seek(start)
            return file.read(length)

    def children(self, key: str) -> list[str]:
        """Return the names of the folders directly below a key."""
        try:
            with os.scandir(self.root / key) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def ancestors(self, most: int) -> Iterator[tuple[Keys, str]]:
        """Yield the folders above the store, nearest first, with the path of the store in each."""
        path = self.root.absolute()
        for group in list(path.parents)[:most]:
            yield DirectoryKeys(group), path.relative_to(group).as_posix()

    def open_store(self) -> Store:
        """Return the same files as a read-only zarr store."""
        return LocalStore(self.root, read_only=True)


class ZipKeys:
    """Access to a store in a zip file; keys are names of its members."""

    reads_at_once = 1

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def name(self) -> str:
        """Name of this store in messages."""
        return str(self.root)

    @cached_property
    def _sizes(self) -> dict[str, int]:
        with zipfile.ZipFile(self.root) as archive:
            return {item.filename: item.file_size for item in archive.infolist() if not item.is_dir()}

    def size(self, key: str) -> int | None:
        """Return the size of a file in bytes; None if it does not exist."""
        return self._sizes.get(key)

    def read(self, key: str, start: int = 0, length: int = -1) -> bytes:
        """Return ``length`` bytes from ``start``, or all remaining bytes if ``length`` is negative."""
        with zipfile.ZipFile(self.root) as archive, archive.open(key) as file:
            file.seek(start)
            return file.read(length)

    def children(self, key: str) -> list[str]:
        """Return the names of the folders directly below a key."""
        return names_below(self._sizes, key)

    def ancestors(self, most: int) -> Iterator[tuple[Keys, str]]:
        """Yield nothing, because a zip has no parent folders."""
        yield from ()

    def open_store(self) -> Store:
        """Return the same files as a read-only zarr store."""
        return ZipStore(self.root, mode="r", read_only=True)


def join(*parts: str) -> str:
    """Join parts to a key, without empty parts."""
    return "/".join(part.strip("/") for part in parts if part.strip("/"))


def inside(folder: str, path: str) -> str:
    """Return the key of a path that metadata state relative to a folder of the store.

    Raises
    ------
    InputError
        The path leads out of the store, or cannot be the name of a file.
    """
    if ".." in path.split("/") or not path.isprintable() or len(path) > _LONGEST_PATH:
        raise InputError(
            f"The metadata of {folder or 'the root group'} refer to {path[:100]!r}, which cannot be a path inside the "
            "store; correct them, or give the path of the array itself."
        )
    return join(folder, path)


def read_json(keys: Keys, key: str) -> dict[str, Any] | None:
    """Read a metadata document; None if it does not exist."""
    size = keys.size(key)
    if size is None:
        return None
    try:
        if size > MOST_DOCUMENT_BYTES:
            raise DocumentError(f"it has {size / 1e6:.0f} MB, expected at most {MOST_DOCUMENT_BYTES / 1e6:.0f}")
        document = parse_json(keys.read(key))
    except (OSError, ValueError) as error:
        raise InputError(f"{keys.name}: metadata {key} cannot be read ({error}); restore this file.") from error
    if not isinstance(document, dict):
        raise InputError(
            f"{keys.name}: metadata {key} holds {type(document).__name__}, expected a mapping; restore this file."
        )
    return document


def names_below(names: Iterable[str], key: str) -> list[str]:
    """Return the names of the folders directly below a key, from the full names of files."""
    prefix = f"{key}/" if key else ""
    return sorted({name[len(prefix) :].split("/")[0] for name in names if _is_below(name, prefix)})


def _is_below(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and "/" in name[len(prefix) :]
