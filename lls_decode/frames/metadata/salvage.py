"""What a converted store says of frames that were announced and are not in it (`lls_decode.movies.accounting`)."""

from pathlib import Path
from typing import Any, NamedTuple

from lls_decode.addresses import resolve_dataset
from lls_decode.config import StorageConfig
from lls_decode.errors import InputError, StorageError
from lls_decode.frames.metadata.images import read_node
from lls_decode.frames.storage.keys import Keys
from lls_decode.frames.storage.opening import open_keys

MAX_NOTED = 3
"""Losses in a note; `read_salvage` has all of them."""


class Missing(NamedTuple):
    """Something that was announced and is not in the store."""

    file: str
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what} ({self.why})"


def read_salvage(path: str | Path, storage: StorageConfig | None = None) -> list[str]:
    """List in words what is missing in a converted store; nothing for a whole one, or for any other dataset."""
    return [str(item) for item in read_missing(path, storage)]


def read_missing(path: str | Path, storage: StorageConfig | None = None) -> list[Missing]:
    """List what is missing in a converted store; nothing for a whole one, or for any other dataset."""
    try:
        return _missing(open_keys(resolve_dataset(path), storage))
    except StorageError:
        raise
    except InputError:
        return []  # a folder of stores


def salvage_notes(keys: Keys) -> tuple[str, ...]:
    """Say in one note what is missing in a converted store."""
    missing = [str(item) for item in _missing(keys)]
    if not missing:
        return ()
    more = f"; and {len(missing) - MAX_NOTED} more (see inspect)" if len(missing) > MAX_NOTED else ""
    return (f"not all frames that were announced are in this store: {'; '.join(missing[:MAX_NOTED])}{more}",)


def _missing(keys: Keys) -> list[Missing]:
    node = read_node(keys, "")
    ours: Any = node.attributes.get("lls_decode") if node else None
    record = ours.get("salvage") if isinstance(ours, dict) else None
    items = record.get("missing", []) if isinstance(record, dict) else []
    return [Missing(*(str(item.get(name)) for name in Missing._fields)) for item in items if isinstance(item, dict)]
