"""HDF5 files of unknown programs: reads the one table in the file, whose columns the user names."""

from functools import partial
from pathlib import Path

from lls_decode.errors import TableError
from lls_decode.export.foreign.foreign_table import FileHead, ForeignTable
from lls_decode.export.hdf5 import only_records, read_records


def read(path: Path, *, has_map: bool) -> ForeignTable:
    """Read the columns of the only table in a file.

    Raises
    ------
    TableError
        No columns are named, or the file does not hold exactly one table.
    """
    found = only_records(path)
    if found is None or not has_map:
        names = ", ".join(FileHead.of(path).hdf5_names)
        columns = f", or name its columns {', '.join(found[1])[:300]}: --columns frame=THEIRS,..." if found else ""
        raise TableError(
            f"{path} is an HDF5 file with {names} at its root; expected saveloc (SMAP), locs (Picasso) or data "
            f"(DECODE); export it as csv from the program that wrote it{columns}."
        )
    name, fields = found
    return ForeignTable(fields, partial(read_records, path, name))
