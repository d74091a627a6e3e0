"""HDF5 files of other programs, opened and created. Only this module imports h5py, and only when it is needed."""

import io
import math
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lls_decode.errors import ConfigError, TableError
from lls_decode.outputs import note_read

_MOST_RATIO = 1100
"""Largest compression ratio of HDF5's filter gzip, with the file's own structure."""
_MOST_CHUNK_BYTES = 256 << 20
"""Largest chunk of a dataset; programs write chunks of about a megabyte."""
_CHUNK_CACHE_BYTES = 2**23
"""Chunk cache of a dataset: chunks of other programs may be large, and each is read in several parts."""
SIGNATURE = b"\x89HDF\r\n\x1a\n"


def h5py_module() -> Any:
    """Return the module ``h5py``.

    Raises
    ------
    ConfigError
        h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise ConfigError(
            "HDF5 files need h5py, which is not installed; run: pip install 'lls-decode[export]'."
        ) from error
    return h5py


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading; damage is raised as `TableError`."""
    h5py = h5py_module()
    note_read(path)
    try:
        with h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE_BYTES) as file:
            file.visititems(partial(_check_size, path, path.stat().st_size))
            yield file
    except (OSError, KeyError, RuntimeError, ValueError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise TableError(f"{path} cannot be read as an HDF5 table ({reason}); it is damaged or incomplete.") from error


def _check_size(path: Path, file_bytes: int, name: str, item: Any) -> None:
    """Refuse a dataset that states more values than the file can hold, or chunks that do not fit into memory."""
    most = max(_MOST_RATIO * file_bytes, _MOST_CHUNK_BYTES)
    if getattr(item, "nbytes", 0) > most:
        raise TableError(
            f"{path} states {item.nbytes:,} bytes of {name}, but its {file_bytes:,} bytes cannot hold more than "
            f"{most:,}; restore it."
        )
    chunk_bytes = math.prod(getattr(item, "chunks", None) or (0,)) * getattr(item, "dtype", np.dtype("u1")).itemsize
    if chunk_bytes > _MOST_CHUNK_BYTES:
        raise TableError(
            f"{path} has chunks of {chunk_bytes:,} bytes in {name}, expected at most {_MOST_CHUNK_BYTES:,}, because "
            "each is unpacked completely; write it with smaller chunks."
        )


@contextmanager
def created(path: Path, **options: Any) -> Iterator[Any]:
    """Create an HDF5 file.

    Raises
    ------
    OSError
        The file cannot be written, e.g. because the disk is full; raised after the body.
    """
    with path.open("w+b", buffering=0) as raw:
        target = _Target(raw)
        try:
            with h5py_module().File(target, "w", **options) as file:
                yield file
        finally:
            if target.error is not None:
                raise target.error


class _Target(io.RawIOBase):
    """File that HDF5 writes to, and that remembers its first error instead of raising it.

    If a write fails, HDF5 can neither complete nor close the file, and later crashes the process.
    """

    def __init__(self, file: io.FileIO) -> None:
        super().__init__()
        self.error: OSError | None = None
        self._file = file

    def write(self, data: Any) -> int:
        """Write all bytes; after an error, write nothing."""
        left = memoryview(data).cast("B")
        try:
            while len(left) and self.error is None:
                left = left[self._file.write(left) :]
        except OSError as error:
            self.error = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """Set the size of the file; after an error, do nothing."""
        try:
            return self._file.truncate(size) if self.error is None else 0
        except OSError as error:
            self.error = error
            return 0

    def readinto(self, buffer: Any) -> int:
        """Read from the current position."""
        return self._file.readinto(buffer)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()


def is_hdf5(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of HDF5, possibly after MATLAB's 512 bytes."""
    return head.startswith(SIGNATURE) or head[512 : 512 + len(SIGNATURE)] == SIGNATURE


def read_records(
    path: Path, name: str, wanted: Sequence[str], texts: Collection[str], rows_at_once: int
) -> Iterator[dict[str, Any]]:
    """Give the fields of a compound dataset, some rows at a time."""
    with opened(path) as file:
        dataset = file[name]
        for start in range(0, max(len(dataset), 1), rows_at_once):
            rows = dataset[start : start + rows_at_once]
            yield {field: rows[field] for field in wanted}


def only_records(path: Path) -> tuple[str, tuple[str, ...]] | None:
    """Return name and fields of the only compound dataset in a file; None if there is not exactly one."""
    found: list[tuple[str, tuple[str, ...]]] = []

    def look(name: str, item: Any) -> None:
        fields = getattr(getattr(item, "dtype", None), "names", None)
        if fields and item.ndim == 1:
            found.append((name, tuple(fields)))

    with opened(path) as file:
        file.visititems(look)
    return found[0] if len(found) == 1 else None
