"""The reader of documents takes little memory for small files, and refuses files only beyond its limit."""

import json
import tracemalloc
from pathlib import Path

import pytest

from lls_decode import documents
from lls_decode.documents import DocumentError, read_bytes, read_json


def test_reading_a_small_document_takes_little_memory(tmp_path: Path) -> None:
    """`file.read(n)` reserves n bytes, so reading up to the largest size at once takes 64 MB for every record."""
    (tmp_path / "a.json").write_text(json.dumps({"frames": 3}))
    tracemalloc.start()
    try:
        assert read_json(tmp_path / "a.json") == {"frames": 3}
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_only_files_beyond_the_limit_are_refused(excess: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_PIECE_BYTES", 7)
    data = bytes(range(100 + excess))
    (tmp_path / "a").write_bytes(data)
    if excess <= 0:
        assert read_bytes(tmp_path / "a", most=100) == data
    else:
        with pytest.raises(DocumentError, match="more than"):
            read_bytes(tmp_path / "a", most=100)
