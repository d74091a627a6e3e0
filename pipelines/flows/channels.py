"""Select the rows of one channel while a table is read piece by piece."""

from collections.abc import Callable, Iterator

from lls_decode.export.rows import ExportTable, Rows


def pieces_of(table: ExportTable, channel: int | None) -> Callable[[], Iterator[Rows]]:
    """Return a function that iterates over the rows of a channel, or over all rows for None.

    Each call of that function reads the table from its beginning.

    Raises
    ------
    ConfigError
        The table has no channels.
    """
    if channel is None:
        return table.pieces
    table.metadata.check_channel(table.path, channel)

    def pieces() -> Iterator[Rows]:
        for rows in table.pieces():
            chosen = rows["channel"] == channel
            yield {name: values[chosen] for name, values in rows.items()}

    return pieces
