"""The rows of one channel of a table that is read piece by piece."""

from collections.abc import Callable, Iterator

from lls_decode.export.rows import ExportTable, Rows


def pieces_of(table: ExportTable, channel: int | None) -> Callable[[], Iterator[Rows]]:
    """Return what gives the rows of a channel anew at each call; those of all channels for None.

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
