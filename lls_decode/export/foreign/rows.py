"""Completion, sorting and writing of imported rows, with metadata that say where they come from."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from lls_decode.errors import TableError
from lls_decode.export.foreign.categories import Category
from lls_decode.export.foreign.column_completion import ColumnCompletion
from lls_decode.export.foreign.foreign_table import Columns
from lls_decode.export.foreign.kinds import Kind
from lls_decode.export.foreign.meaning import Meaning
from lls_decode.table import ChannelInfo, TableMetadata, software_versions, sorted_aside, table_writer
from lls_decode.table.csv_layouts import CsvLayout
from lls_decode.table.sorting import CANONICAL, molecule_order

_logger = logging.getLogger(__name__)

_FILLS: Final = {
    "z_nm": "0: two-dimensional",
    "prob": "1: accepted by the program that wrote it",
    "group": "-1: not linked",
    "volume": "from frame",
    "plane": "from frame",
}
_FILLS_OF_MOLECULES: Final = {
    **_FILLS,
    "group": "number of the row",
    "last_frame": "from frame and the number of detections: as if these followed each other",
    "num_frames": "last_frame - frame + 1: as if it was seen in each frame",
    "num_planes": "from frame and last_frame",
    "num_volumes": "from frame and last_frame",
    "prob_any": "as prob",
}


@dataclass(frozen=True)
class _Categories:
    """Columns of channels and source files; None if the file has none."""

    channel: Category | None
    file: Category | None

    def of(self, piece: Columns) -> dict[str, Any]:
        """Return a piece with channel codes in place of channel names, and with the selected rows only."""
        columns = dict(piece)
        rows: Any = None
        for category in (self.channel, self.file):
            if category is None:
                continue
            codes = category.codes(columns.pop(category.ours))
            if category.ours == "channel":
                columns["channel"] = codes
            taken = category.chosen_rows(codes)
            if taken is not None:
                rows = taken if rows is None else rows & taken
        return columns if rows is None else {name: values[rows] for name, values in columns.items()}

    def check(self) -> None:
        for category in (self.channel, self.file):
            if category is not None:
                category.check()


def write_rows(
    meaning: Meaning,
    path: Path,
    out: Path,
    *,
    kind: Kind,
    layout: CsvLayout | None,
    format: str,
    channel: str | int | None,
    file: str | int | None,
    planes_per_volume: int | None,
    rows_at_once: int,
) -> None:
    """Write the rows of a file in order; only those of one ``channel`` or source ``file`` if given."""
    categories = _Categories(
        _category(meaning, "channel", channel, path, layout), _category(meaning, "file", file, path, layout)
    )
    has_channel = categories.channel is not None
    completion = ColumnCompletion(path, planes_per_volume, kind=kind, with_channel=has_channel)
    order = molecule_order(planes_per_volume or 1) if kind == "molecules" else CANONICAL
    with sorted_aside(out, completion.schema, order) as sorter:
        num_in_file = 0
        for piece in meaning.pieces(rows_at_once):
            num_in_file += len(piece["frame"])
            sorter.add(completion.add(categories.of(piece)))
        if not num_in_file:
            raise TableError(f"{path} has a header and no rows; there is nothing to import.")
        categories.check()
        completion.check()
        keeps_channel, channels, notes = _channels(categories.channel, layout, meaning.table.channel_names)
        notes += completion.notes()
        for note in notes:
            _logger.info("%s: %s", path.name, note)
        fills = _FILLS_OF_MOLECULES if kind == "molecules" else _FILLS
        metadata = TableMetadata(
            pixel_size=meaning.table.pixel_size,
            planes_per_volume=planes_per_volume,
            **meaning.table.size.to_dict(),
            channels=channels,
            software=software_versions(),
            input={
                "path": str(path),
                "format": format,
                **meaning.table.details,
                **({"layout": layout.name, "header": list(meaning.table.names)} if layout is not None else {}),
                "columns": dict(meaning.theirs),
                "dropped": list(meaning.dropped),
                "first_frame": meaning.first_frame,
                "origin": meaning.origin,
                **_chosen(categories),
                "notes": [*meaning.notes, *notes],
                "filled": {column: fills.get(column, "NaN: not known") for column in completion.absent},
            },
        )
        if kind != "localizations":
            metadata = metadata.of_kind(kind)
        metadata = metadata.with_step("import", format=format, source=path.name)
        schema = completion.schema
        if has_channel and not keeps_channel:
            schema = schema.remove(schema.get_field_index("channel"))
        with table_writer(out, schema, metadata) as writer:
            for rows in _finished(sorter.pieces(), categories.channel, schema):
                writer.write(completion.with_depth(rows))


def _finished(pieces: Iterator[pa.Table], channel: Category | None, schema: pa.Schema) -> Iterator[pa.Table]:
    """Give rows with the numbers of their channels, or without the channel column."""
    for rows in pieces:
        if channel is not None:
            place = rows.schema.get_field_index("channel")
            numbers = channel.renumbered(rows["channel"].to_numpy())
            rows = rows.set_column(place, rows.schema.field(place), pa.array(numbers)).select(schema.names)
        yield rows


def _category(
    meaning: Meaning, ours: str, chosen: str | int | None, path: Path, layout: CsvLayout | None
) -> Category | None:
    if ours in meaning.theirs:
        first = layout.first_channel if layout is not None and ours == "channel" else 0
        return Category(ours, meaning.theirs[ours], None if chosen is None else str(chosen), path, first)
    if chosen is None:
        return None
    raise TableError(
        f"{path} has no column that states the {ours} of each row (--{ours} {chosen}); it has "
        f"{', '.join(meaning.table.names)}: name it with --columns {ours}=THEIRS."
    )


def _channels(
    channel: Category | None, layout: CsvLayout | None, stated: Sequence[str]
) -> tuple[bool, tuple[ChannelInfo, ...], tuple[str, ...]]:
    """Return whether the channel column is kept, the channels, and notes for the user."""
    if channel is None:
        return False, (), ()
    if channel.chosen is not None:
        return False, (ChannelInfo(name=channel.chosen),), (f"only rows whose {channel.theirs} is {channel.chosen}",)
    numbers = channel.numbers()
    if layout is not None and layout.fills_channel and set(numbers) <= {"0"}:
        return False, (), (f"{channel.theirs} is 0 in each row, as in files without channels; not kept",)
    words = ", ".join(f"{number} ({value})" if str(number) != value else value for value, number in numbers.items())
    note = f"channels {words} are distinguished by {channel.theirs}"
    if channel.are_numbers():
        return True, tuple(ChannelInfo(name=name) for name in stated), (note,)
    return True, tuple(ChannelInfo(name=value) for value in sorted(numbers, key=numbers.__getitem__)), (note,)


def _chosen(categories: _Categories) -> dict[str, str]:
    """Return the source file and channel that all rows share, as far as there are any."""
    found = {}
    if categories.channel is not None and categories.channel.chosen is not None:
        found["channel"] = categories.channel.chosen
    if categories.file is not None:
        found["file"] = categories.file.chosen or next(iter(categories.file.values), "")
    return found
