"""Metadata of a table: one versioned JSON under the file-level key ``lls_decode``.

A copy under ``PANDAS_ATTRS`` makes it available as ``pandas.read_parquet(file).attrs["lls_decode"]``.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from pydantic import Field, ValidationError

from lls_decode.blocks import FrameRanges
from lls_decode.config import Camera, Config, Geometry, PixelSize
from lls_decode.documents import parse_json
from lls_decode.errors import ConfigError, TableError
from lls_decode.table.schema import CHANNEL_COLUMN, TABLE_VERSION, VERSIONS

KEY = b"lls_decode"
PANDAS_KEY = b"PANDAS_ATTRS"


class ColumnInfo(Config):
    """Unit and meaning of one column."""

    type: str
    unit: str = ""
    description: str = ""


class ChannelInfo(Config):
    """Name and wavelengths of one channel."""

    name: str = ""
    excitation_nm: float | None = Field(default=None, gt=0)
    emission_nm: float | None = Field(default=None, gt=0)

    def label(self, number: int) -> str:
        """Return the name of the channel; without a name its wavelength, else its number."""
        wavelength = self.excitation_nm or self.emission_nm
        return self.name or (f"{wavelength:g} nm" if wavelength else f"channel {number}")


class TableMetadata(Config):
    """Everything that is needed to interpret a table and to recompute it."""

    kind: str = "localizations"
    """Kind of the rows: a key of `VERSIONS`."""
    version: tuple[int, int] = TABLE_VERSION
    """Version of the schema of this kind."""
    columns: dict[str, ColumnInfo] = Field(default_factory=dict)
    """Columns by name; filled in by the writer."""
    pixel_size: PixelSize | None = None
    geometry: Geometry | None = None
    camera: Camera | None = None
    planes_per_volume: int | None = None
    width: int | None = Field(default=None, gt=0)
    """Width of the frames of the dataset, pixels; None: not known."""
    height: int | None = Field(default=None, gt=0)
    """Height of the frames, pixels; None: not known."""
    num_frames: int | None = Field(default=None, ge=0)
    """Number of frames of the dataset, with or without rows; None: not known."""
    channels: tuple[ChannelInfo, ...] = ()
    """Channels, by the numbers in the column ``channel``. A table without that column has at most one, to which all
    rows belong."""
    model_digest: str | None = None
    model: dict[str, Any] = Field(default_factory=dict)
    """Description of the model, from its bundle."""
    configuration: dict[str, Any] = Field(default_factory=dict)
    """The run's configuration, as plain values."""
    run_digest: str | None = None
    software: dict[str, str] = Field(default_factory=dict)
    """Versions of the packages that were involved."""
    input: dict[str, Any] = Field(default_factory=dict)
    """Identification of the dataset: path, array, shape, axes, ..."""
    frames: FrameRanges | None = None
    """Frames that were localized, with or without rows, as ranges that exclude their end; None: not known."""
    missing_blocks: tuple[str, ...] = ()
    """Blocks whose rows are not in this table."""
    lost_frames: FrameRanges = ()
    """Frames of the other blocks that could not be read, as ranges that exclude their end. They have no rows, and their
    neighbours were localized like frames at the end of a sequence."""
    filled_frames: FrameRanges = ()
    """Frames that were given the fill value because their chunks are absent."""
    history: tuple[dict[str, Any], ...] = ()
    """Steps applied to the rows afterwards (filter, link, drift), oldest first."""

    def with_columns(self, table_schema: pa.Schema) -> Self:
        """Return a copy with the columns of a schema; units and descriptions come from its field metadata."""
        return self.model_copy(update={"columns": {field.name: _column_info(field) for field in table_schema}})

    def with_step(self, name: str, **details: Any) -> Self:
        """Return a copy with one more step in its history."""
        return self.model_copy(update={"history": (*self.history, {"step": name, **details})})

    @property
    def has_channels(self) -> bool:
        """Whether each row states its channel."""
        return CHANNEL_COLUMN.name in self.columns

    def check_channel(self, path: str | Path, channel: int | None) -> None:
        """Refuse a channel if the table has no channel column; None is always accepted.

        Raises
        ------
        ConfigError
            A channel is given, and the table has no channel column.
        """
        if channel is not None and not self.has_channels:
            raise ConfigError(
                f"{path} has no column {CHANNEL_COLUMN.name!r}, so channel {channel} cannot be selected; omit the "
                "channel, or join the tables of several channels first ('lls-decode join --same-frames')."
            )

    def channel_label(self, number: int) -> str:
        """Return the name of a channel in words."""
        info = self.channels[number] if 0 <= number < len(self.channels) else ChannelInfo()
        return info.label(number)

    def without_step(self, name: str) -> Self:
        """Return a copy whose history lacks all steps of that name."""
        return self.model_copy(update={"history": tuple(step for step in self.history if step.get("step") != name)})

    def steps(self, name: str) -> list[dict[str, Any]]:
        """Return all steps of that name, including those of the tables that were joined into this one."""
        return list(_steps(self.history, name))

    def of_kind(self, kind: str) -> Self:
        """Return a copy for a table with another kind of rows."""
        return self.model_copy(update={"kind": kind, "version": VERSIONS[kind], "columns": {}})

    def to_schema_metadata(self) -> dict[bytes, bytes]:
        """Return the file-level keys and values."""
        values = self.to_dict()
        text = json.dumps(values, separators=(",", ":"), allow_nan=False)
        return {KEY: text.encode(), PANDAS_KEY: json.dumps({KEY.decode(): values}, separators=(",", ":")).encode()}

    @classmethod
    def from_schema_metadata(cls, metadata: Mapping[bytes, bytes] | None, *, source: str | Path) -> Self:
        """Read metadata from a file's keys; use the copy kept by pandas if our own key is lost.

        ``source`` names the file in errors.

        Raises
        ------
        TableError
            There are no such metadata, they are damaged, or their major version is unknown.
        """
        found = metadata or {}
        if not has_metadata(found):
            raise TableError(
                f"{source} has no metadata under the key 'lls_decode'; expected a table written by lls-decode (for one "
                "that another program has rewritten, name the table that it came from: --like TABLE)."
            )
        try:
            values = parse_json(found[KEY]) if KEY in found else parse_json(found[PANDAS_KEY])[KEY.decode()]
            major, minor = (int(number) for number in values["version"])
            kind = str(values.get("kind", "localizations"))
        except (ValueError, KeyError, TypeError) as error:
            raise TableError(
                f"{source} has damaged metadata under the key 'lls_decode' ({type(error).__name__}); write it again."
            ) from error
        expected = VERSIONS.get(kind)
        if expected is None:
            raise TableError(
                f"{source} is a table of {kind}, a kind that this version does not know; use a newer lls-decode."
            )
        if major != expected[0]:
            raise TableError(
                f"{source} is a table of version {major}.{minor}, but this program reads version {expected[0]}.x; "
                f"use an lls-decode that knows version {major}."
            )
        # a newer minor version may have more keys; this version ignores them
        known = {key: value for key, value in values.items() if key in cls.model_fields}
        try:
            return cls.model_validate(known)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise TableError(f"{source} has invalid metadata: {place}: {first['msg']}.") from error


def _steps(history: Iterable[dict[str, Any]], name: str) -> Iterator[dict[str, Any]]:
    for step in history:
        if step.get("step") == name:
            yield step
        for given in step.get("inputs", ()) if step.get("step") == "join" else ():
            yield from _steps(given.get("history", ()), name)


def has_metadata(metadata: Mapping[bytes, bytes] | None) -> bool:
    """Return whether a file has metadata of ours, under our own key or in the attributes that pandas keeps."""
    found = metadata or {}
    return KEY in found or b'"lls_decode"' in found.get(PANDAS_KEY, b"")


def software_versions(*packages: str) -> dict[str, str]:
    """Return the versions of the installed packages that write tables, and of the packages named."""
    found = {}
    for package in ("lls-decode", "numpy", "pyarrow", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _column_info(field: pa.Field) -> ColumnInfo:
    metadata = field.metadata or {}
    return ColumnInfo(
        type=str(field.type),
        unit=metadata.get(b"unit", b"").decode(),
        description=metadata.get(b"description", b"").decode(),
    )
