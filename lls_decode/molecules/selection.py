"""Rows of a table that meet a condition, read with constant memory and any number of times."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
from pyarrow import acero
from pyarrow.fs import LocalFileSystem

from lls_decode.molecules.condition import Condition
from lls_decode.system import real_path
from lls_decode.table import iter_tables


class Selection:
    """Rows of a table that meet a condition, in the order of the table; all rows if there is no condition."""

    def __init__(self, path: Path, where: Condition | None = None) -> None:
        self.path, self._where = path, where
        fragment = pa.dataset.ParquetFileFormat().make_fragment(str(real_path(path)), LocalFileSystem())
        possible = fragment if where is None else fragment.subset(filter=where.expression)
        self.num_row_groups = fragment.num_row_groups
        self.row_groups = [group.id for group in possible.row_groups]
        """Row groups that may contain matching rows according to their statistics; the others are not read."""

    def pieces(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the matching rows in pieces, some of which may be empty, with all columns or those named."""
        if self._where is None:
            yield from iter_tables(self.path, columns, row_groups=self.row_groups)
            return
        read = None if columns is None else list(dict.fromkeys([*columns, *sorted(self._where.columns)]))
        for table in iter_tables(self.path, read, row_groups=self.row_groups):
            kept = filtered(table, self._where.expression)
            yield kept if columns is None else kept.select(list(columns))


def filtered(table: pa.Table, expression: pc.Expression) -> pa.Table:
    """Filter like `pyarrow.Table.filter`, but on one thread, so that the rows keep their order."""
    source = acero.Declaration("table_source", acero.TableSourceNodeOptions(table))
    choose = acero.Declaration("filter", acero.FilterNodeOptions(expression))
    return acero.Declaration.from_sequence([source, choose]).to_table(use_threads=False)
