"""Record, in a converted store, of announced frames that are missing from it (`lls_decode.movies.accounting`)."""

from pathlib import Path
from typing import Any, NamedTuple

from lls_decode.addresses import resolve_dataset
from lls_decode.config import StorageConfig
from lls_decode.errors import InputError, StorageError
from lls_decode.frames.metadata.images import read_node
from lls_decode.frames.storage.keys import Keys
from lls_decode.frames.storage.opening import open_keys

MAX_NOTED = 3
"""Largest number of losses listed in a note; `read_salvage` returns all of them."""


class Missing(NamedTuple):
    """Frames or files that were announced but are missing from the store."""

    file: str
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what} ({self.why})"


def read_salvage(path: str | Path, storage: StorageConfig | None = None) -> list[str]:
    """Describe the losses of a converted store, one text each; nothing for a complete store or any other dataset."""
    return [str(item) for item in read_missing(path, storage)]


def read_missing(path: str | Path, storage: StorageConfig | None = None) -> list[Missing]:
    """Return the losses of a converted store; nothing for a complete store or any other dataset."""
    try:
        return _missing(open_keys(resolve_dataset(path), storage))
    except StorageError:
        raise
    except InputError:
        return []  # a folder of stores


def salvage_notes(keys: Keys) -> tuple[str, ...]:
    """Summarize the losses of a converted store in at most one note."""
    missing = [str(item) for item in _missing(keys)]
    if not missing:
        return ()
    more = f"; and {len(missing) - MAX_NOTED} more (see inspect)" if len(missing) > MAX_NOTED else ""
    return (f"some announced frames are missing from this store: {'; '.join(missing[:MAX_NOTED])}{more}",)


def _missing(keys: Keys) -> list[Missing]:
    node = read_node(keys, "")
    ours: Any = node.attributes.get("lls_decode") if node else None
    record = ours.get("salvage") if isinstance(ours, dict) else None
    items = record.get("missing", []) if isinstance(record, dict) else []
    return [Missing(*(str(item.get(name)) for name in Missing._fields)) for item in items if isinstance(item, dict)]
