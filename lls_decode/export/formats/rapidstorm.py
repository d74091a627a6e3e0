"""rapidSTORM's text: one line of XML that names the columns, then rows separated by blanks.

The line states the units of positions; frames count from 0. Amplitudes are in camera counts and are therefore not
imported as photons.
"""

import re
import xml.etree.ElementTree
from pathlib import Path
from typing import Final

from lls_decode.errors import TableError
from lls_decode.export.foreign.foreign_table import FileHead, ForeignTable
from lls_decode.export.text import read_text
from lls_decode.table.csv_layouts import CsvDialect, CsvHead, CsvLayout

_START: Final = "# <localizations"
LAYOUT: Final = CsvLayout(
    "rapidSTORM",
    required={"ImageNumber-0-0": "frame", "Position-0-0": "x_nm", "Position-1-0": "y_nm"},
    optional={
        "Position-2-0": "z_nm",
        "Position-0-0-uncertainty": "x_sig",
        "Position-1-0-uncertainty": "y_sig",
        "Position-2-0-uncertainty": "z_sig",
    },
    first_frame=0,
    origin_px=None,
    is_open=True,
)


def recognizes(head: FileHead) -> bool:
    """Return whether a file starts with rapidSTORM's line of XML."""
    return head.start.startswith(_START.encode())


def read(path: Path) -> ForeignTable:
    """Read names and units from the first line, then the rows."""
    line = FileHead.of(path).lines[0]
    try:
        fields = list(xml.etree.ElementTree.fromstring(line.lstrip("# ")).iter("field"))
        names = [field.attrib["identifier"] for field in fields]
    except (xml.etree.ElementTree.ParseError, KeyError) as error:
        raise TableError(f"{path} has a damaged first line ({error}); expected rapidSTORM's description.") from error
    units = {field.attrib["identifier"]: field.attrib.get("unit", "") for field in fields}
    table = read_text(path, CsvHead(names, 1, CsvDialect(" ")))
    return ForeignTable(
        table.names,
        table.read,
        layout=LAYOUT,
        units={name: unit for name, unit in units.items() if re.match("Position", name)},
    )
