"""A full disk stops an export with a message of one line, and leaves no part of a file behind."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lls_decode.errors import LlsDecodeError
from lls_decode.export.exporting import FORMATS, export_table
from tests.disks import fill

FREE_BYTES = (0, 4096, 12_288, 24_576)
"""Free space of the disk: nothing, room for the first bytes of a file, and for a part of it."""


def outcome(table: Path, out: Path, name: str) -> str:
    """Export a table; return an empty text, or the message of the error."""
    try:
        export_table(table, out, format=name)
    except LlsDecodeError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_full_disk_stops_an_export(name: str, table: Path, mount_disk: Callable[[str], Path]) -> None:
    for free in FREE_BYTES:
        disk = mount_disk("size=256k")
        fill(disk, leave=free)
        message = outcome(table, disk / f"table{FORMATS[name].suffix}", name)
        assert not message or message.count("cannot be written: the disk is full; free some space") == 1
        assert message or free
        assert "\n" not in message
        if message:
            assert [path.name for path in disk.iterdir()] == ["ballast"]
