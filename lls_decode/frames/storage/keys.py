"""The files of a zarr store by key: existence, size, bytes. What zarr does not tell about chunks is asked here.

One protocol, `Keys`, for all kinds of store: a directory, a zip file of one, and both at an address (`remote`,
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
"""Names of metadata documents: one of them makes a folder an array or group."""


class Keys(Protocol):
    """Access to the files of one store."""

    reads_at_once: int
    """Chunks that should be asked for at the same time; 1: zarr does well by itself."""

    @property
    def name(self) -> str:
        """How messages call this store."""

    def size(self, key: str) -> int | None:
        """Bytes of the file, None when there is none."""

    def read(self, key: str, start: int = 0, length: int = -1) -> bytes:
        """``length`` bytes from ``start``; all that follow when negative."""

    def children(self, key: str) -> list[str]:
        """Names of the folders directly below."""

    def ancestors(self, most: int) -> "Iterator[tuple[Keys, str]]":
        """Folders above the store, nearest first, and the store's path in each."""

    def open_store(self) -> Store:
        """The same files for zarr, read-only."""


class DirectoryKeys:
    """Keys are paths relative to a directory."""

    reads_at_once = 1

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def name(self) -> str:
        """How messages call this store."""
        return str(self.root)

    def size(self, key: str) -> int | None:
        """Bytes of the file, None when there is none."""
        try:
            return os.stat(self.root / key).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, key: str, start: int = 0, length: int = -1) -> bytes:
        """``length`` bytes from ``start``; all that follow when negative."""
        with open_regular_file(self.root / key) as file:
            file.seek(start)
            return file.read(length)

    def children(self, key: str) -> list[str]:
        """Names of the folders directly below."""
        try:
            with os.scandir(self.root / key) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def ancestors(self, most: int) -> Iterator[tuple[Keys, str]]:
        """Folders above the store, nearest first, and the store's path in each."""
        path = self.root.absolute()
        for group in list(path.parents)[:most]:
            yield DirectoryKeys(group), path.relative_to(group).as_posix()

    def open_store(self) -> Store:
        """The same files for zarr, read-only."""
        return LocalStore(self.root, read_only=True)


class ZipKeys:
    """Keys are names inside a zip file."""

    reads_at_once = 1

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def name(self) -> str:
        """How messages call this store."""
        return str(self.root)

    @cached_property
    def _sizes(self) -> dict[str, int]:
        with zipfile.ZipFile(self.root) as archive:
            return {item.filename: item.file_size for item in archive.infolist() if not item.is_dir()}

    def size(self, key: str) -> int | None:
        """Bytes of the file, None when there is none."""
        return self._sizes.get(key)

    def read(self, key: str, start: int = 0, length: int = -1) -> bytes:
        """``length`` bytes from ``start``; all that follow when negative."""
        with zipfile.ZipFile(self.root) as archive, archive.open(key) as file:
            file.seek(start)
            return file.read(length)

    def children(self, key: str) -> list[str]:
        """Names of the folders directly below."""
        return names_below(self._sizes, key)

    def ancestors(self, most: int) -> Iterator[tuple[Keys, str]]:
        """Nothing lies above a zip."""
        yield from ()

    def open_store(self) -> Store:
        """The same files for zarr, read-only."""
        return ZipStore(self.root, mode="r", read_only=True)


def join(*parts: str) -> str:
    """Key made of parts, empty ones left out."""
    return "/".join(part.strip("/") for part in parts if part.strip("/"))


def read_json(keys: Keys, key: str) -> dict[str, Any] | None:
    """A metadata document, None when absent."""
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
        raise InputError(f"{keys.name}: metadata {key} holds {type(document).__name__}, expected a mapping.")
    return document


def names_below(names: Iterable[str], key: str) -> list[str]:
    """Names of the folders directly below a key, among whole names of files."""
    prefix = f"{key}/" if key else ""
    return sorted({name[len(prefix) :].split("/")[0] for name in names if _is_below(name, prefix)})


def _is_below(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and "/" in name[len(prefix) :]
