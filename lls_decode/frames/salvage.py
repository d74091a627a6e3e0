"""What a converted store says of frames that were announced and are not in it (`lls_decode.movies.accounting`)."""

from pathlib import Path
from typing import Any

from lls_decode.errors import InputError
from lls_decode.frames.keys import Keys, open_keys
from lls_decode.frames.metadata.images import read_node

MAX_NOTED = 3
"""Losses in a note; `read_salvage` has all of them."""


def read_salvage(path: str) -> list[str]:
    """List what is missing in a converted store; nothing for a whole one, or for any other dataset."""
    try:
        return _missing(open_keys(Path(path)))
    except InputError:
        return []  # a folder of stores


def salvage_notes(keys: Keys) -> tuple[str, ...]:
    """Say in one note what is missing in a converted store."""
    missing = _missing(keys)
    if not missing:
        return ()
    more = f"; and {len(missing) - MAX_NOTED} more (see inspect)" if len(missing) > MAX_NOTED else ""
    return (f"not all frames that were announced are in this store: {'; '.join(missing[:MAX_NOTED])}{more}",)


def _missing(keys: Keys) -> list[str]:
    node = read_node(keys, "")
    ours: Any = node.attributes.get("lls_decode") if node else None
    record = ours.get("salvage") if isinstance(ours, dict) else None
    items = record.get("missing", []) if isinstance(record, dict) else []
    return [f"{item.get('file')}: {item.get('what')} ({item.get('why')})" for item in items if isinstance(item, dict)]
