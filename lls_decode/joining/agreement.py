"""Conditions under which tables can be joined, and the metadata of the joined table."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import pyarrow as pa

from lls_decode.blocks import FrameRanges, join_ranges
from lls_decode.errors import ConfigError, TableError
from lls_decode.joining.member import Member
from lls_decode.table import CHANNEL_COLUMN, TableMetadata, software_versions

_SAME: Final = {"planes_per_volume": "planes per volume", "geometry": "geometry", "pixel_size": "pixel size"}
"""Properties that tables must share if they state them, by their names in the metadata."""
_KEPT: Final = ("width", "height", "camera", "model_digest", "model", "configuration", "run_digest", "input")
"""Metadata that are kept if they are the same in all tables."""


def check_members(members: Sequence[Member]) -> None:
    """Refuse tables that cannot be joined.

    Raises
    ------
    ConfigError
        Only one table, or the same table twice.
    TableError
        Tables differ in kind of rows, columns, pixel size, geometry or planes per volume.
    """
    if len(members) < 2:
        raise ConfigError("There is one table to join; give two or more.")
    for number, member in enumerate(members):
        for other in members[:number]:
            if member.path.samefile(other.path):
                raise ConfigError(f"{member.path} is given twice; give each table once.")
    for one, other in pairwise(members):
        _check_two(one, other)


def _check_two(one: Member, other: Member) -> None:
    if one.metadata.kind != other.metadata.kind:
        raise TableError(
            f"{one.path} is a table of {one.metadata.kind} and {other.path} one of {other.metadata.kind}; join tables "
            "of one kind."
        )
    for name, words in _SAME.items():
        values = [getattr(member.metadata, name) for member in (one, other)]
        if name == "planes_per_volume":  # a table that states none has its rows counted in single frames
            values = [value or 1 for value in values]
        if None not in values and values[0] != values[1]:
            raise TableError(
                f"{one.path} and {other.path} differ in {words} ({_words(values[0])} and {_words(values[1])}); join "
                "tables of one microscope and setting."
            )
    mine, theirs = ({field.name: field.type for field in _columns(member)} for member in (one, other))
    if mine != theirs:
        different = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
        raise TableError(
            f"{one.path} and {other.path} differ in the columns {', '.join(different)}; drop these, or compute them in "
            "both."
        )


def joined_schema(members: Sequence[Member], *, with_channel: bool) -> pa.Schema:
    """Return the columns of the joined table: those of the first table, with the channel after the canonical ones."""
    fields = list(_columns(members[0]))
    if with_channel:
        names = [field.name for field in fields]
        place = max(names.index(name) for name in ("group", "zs_nm", "prob_any") if name in names) + 1
        fields.insert(place, CHANNEL_COLUMN.field())
    return pa.schema(fields)


def joined_metadata(members: Sequence[Member], first_frames: Sequence[int], step: dict[str, Any]) -> TableMetadata:
    """Return the metadata of the joined table; ``step`` is the record of joining in its history."""
    first = members[0].metadata
    values = {name: getattr(first, name) for name in _KEPT if _is_common(members, name)}
    values |= {name: _stated(members, name) for name in _SAME}
    missing = [f"{member.path.name}: {block}" for member in members for block in member.metadata.missing_blocks]
    return TableMetadata(
        kind=first.kind,
        version=max(member.metadata.version for member in members),
        **values,
        num_frames=max(start + member.num_frames for start, member in zip(first_frames, members, strict=True)),
        software=software_versions(),
        missing_blocks=tuple(missing),
        lost_frames=_moved(members, first_frames, "lost_frames"),
        filled_frames=_moved(members, first_frames, "filled_frames"),
    ).with_step("join", **step)


def _columns(member: Member) -> list[pa.Field]:
    return [field for field in member.schema if field.name != CHANNEL_COLUMN.name]


def _is_common(members: Sequence[Member], name: str) -> bool:
    values = [getattr(member.metadata, name) for member in members]
    return all(value == values[0] for value in values)


def _stated(members: Sequence[Member], name: str) -> Any:
    return next((value for member in members if (value := getattr(member.metadata, name)) is not None), None)


def _moved(members: Sequence[Member], first_frames: Sequence[int], name: str) -> FrameRanges:
    return join_ranges(
        tuple((start + first, stop + first) for start, stop in getattr(member.metadata, name))
        for first, member in zip(first_frames, members, strict=True)
    )


def _words(value: Any) -> str:
    if hasattr(value, "model_dump"):
        return ", ".join(f"{name} {item}" for name, item in value.model_dump(mode="json").items())
    return str(value)
