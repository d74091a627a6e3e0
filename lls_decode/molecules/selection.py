"""Rows that meet a condition, read with constant memory, as often as need be."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
from pyarrow import acero
from pyarrow.fs import LocalFileSystem

from lls_decode.molecules.condition import Condition
from lls_decode.table import iter_tables


class Selection:
    """The rows of a table that meet a condition (all, without one), in the order of the table."""

    def __init__(self, path: Path, where: Condition | None = None) -> None:
        self.path, self._where = path, where
        fragment = pa.dataset.ParquetFileFormat().make_fragment(str(path.resolve()), LocalFileSystem())
        possible = fragment if where is None else fragment.subset(filter=where.expression)
        self.num_row_groups = fragment.num_row_groups
        self.row_groups = [group.id for group in possible.row_groups]
        """Those that may have such rows, by their statistics; the others are not read."""

    def pieces(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Pieces of the rows, some of them empty; all columns, or those named."""
        if self._where is None:
            yield from iter_tables(self.path, columns, row_groups=self.row_groups)
            return
        read = None if columns is None else list(dict.fromkeys([*columns, *sorted(self._where.columns)]))
        for table in iter_tables(self.path, read, row_groups=self.row_groups):
            kept = filtered(table, self._where.expression)
            yield kept if columns is None else kept.select(list(columns))


def filtered(table: pa.Table, expression: pc.Expression) -> pa.Table:
    """As `pyarrow.Table.filter`, on one thread, so that the order of the rows is certain."""
    source = acero.Declaration("table_source", acero.TableSourceNodeOptions(table))
    choose = acero.Declaration("filter", acero.FilterNodeOptions(expression))
    return acero.Declaration.from_sequence([source, choose]).to_table(use_threads=False)
