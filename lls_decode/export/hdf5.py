"""HDF5 files of other programs, opened and created. Only this module imports h5py, and only when it is needed."""

import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lls_decode.errors import ConfigError, TableError
from lls_decode.outputs import note_read

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
            yield file
    except (OSError, KeyError, RuntimeError, ValueError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise TableError(f"{path} cannot be read as an HDF5 table ({reason}); it is damaged or incomplete.") from error


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
