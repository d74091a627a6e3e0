"""What a table says about itself: one versioned JSON under the file-level key ``lls_decode``.

The same is repeated under ``PANDAS_ATTRS``, so that ``pandas.read_parquet(file).attrs["lls_decode"]`` has it.
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
    """What is known of one channel."""

    name: str = ""
    excitation_nm: float | None = Field(default=None, gt=0)
    emission_nm: float | None = Field(default=None, gt=0)

    def label(self, number: int) -> str:
        """The name in words; for a channel without a name its wavelength, else its number."""
        wavelength = self.excitation_nm or self.emission_nm
        return self.name or (f"{wavelength:g} nm" if wavelength else f"channel {number}")


class TableMetadata(Config):
    """Everything needed to interpret a table, and to compute it again."""

    kind: str = "localizations"
    """What a row is: a key of `VERSIONS`."""
    version: tuple[int, int] = TABLE_VERSION
    """Of the schema of this kind."""
    columns: dict[str, ColumnInfo] = Field(default_factory=dict)
    """By column name; filled in by the writer."""
    pixel_size: PixelSize | None = None
    geometry: Geometry | None = None
    camera: Camera | None = None
    planes_per_volume: int | None = None
    width: int | None = Field(default=None, gt=0)
    """Pixels of a frame of the dataset along x; None: not known."""
    height: int | None = Field(default=None, gt=0)
    """Pixels along y."""
    num_frames: int | None = Field(default=None, ge=0)
    """Frames of the dataset, with and without rows; None: not known."""
    channels: tuple[ChannelInfo, ...] = ()
    """By the numbers in the column ``channel``; of a table without that column at most one, which all rows are of."""
    model_digest: str | None = None
    model: dict[str, Any] = Field(default_factory=dict)
    """What the model bundle says of itself."""
    configuration: dict[str, Any] = Field(default_factory=dict)
    """The run's configuration, as plain values."""
    run_digest: str | None = None
    software: dict[str, str] = Field(default_factory=dict)
    """Version of each package that had a part in it."""
    input: dict[str, Any] = Field(default_factory=dict)
    """Which dataset this is: path, array, shape, axes, ..."""
    frames: FrameRanges | None = None
    """Frames that were localized, with rows or without, first and one-past-last; None: not known."""
    missing_blocks: tuple[str, ...] = ()
    """Blocks whose rows are not in this table."""
    lost_frames: FrameRanges = ()
    """Frames of the other blocks that could not be read, first and one-past-last: they have no rows, and each frame
    beside one was localized as at the end of a sequence."""
    filled_frames: FrameRanges = ()
    """Frames that were given the fill value, as their chunks are absent."""
    history: tuple[dict[str, Any], ...] = ()
    """What was done to the rows afterwards (filter, link, drift), oldest first."""

    def with_columns(self, table_schema: pa.Schema) -> Self:
        """The same with the columns of a schema, units and descriptions from its field metadata."""
        return self.model_copy(update={"columns": {field.name: _column_info(field) for field in table_schema}})

    def with_step(self, name: str, **details: Any) -> Self:
        """The same with one more step of history."""
        return self.model_copy(update={"history": (*self.history, {"step": name, **details})})

    @property
    def has_channels(self) -> bool:
        """Whether rows say which channel they are of."""
        return CHANNEL_COLUMN.name in self.columns

    def check_channel(self, path: str | Path, channel: int | None) -> None:
        """Refuse to choose among the channels of a table that does not tell them apart; None chooses none.

        Raises
        ------
        ConfigError
            There is no such column.
        """
        if channel is not None and not self.has_channels:
            raise ConfigError(
                f"{path} has no column {CHANNEL_COLUMN.name!r}, so that there is no channel {channel} in it; leave the "
                "channel out, or join the tables of several channels first ('lls-decode join --same-frames')."
            )

    def channel_label(self, number: int) -> str:
        """The name of a channel in words."""
        info = self.channels[number] if 0 <= number < len(self.channels) else ChannelInfo()
        return info.label(number)

    def without_step(self, name: str) -> Self:
        """The same without the steps of that name."""
        return self.model_copy(update={"history": tuple(step for step in self.history if step.get("step") != name)})

    def steps(self, name: str) -> list[dict[str, Any]]:
        """The steps of that name, also of the tables that this one was joined from."""
        return list(_steps(self.history, name))

    def of_kind(self, kind: str) -> Self:
        """The same for a table whose rows are something else."""
        return self.model_copy(update={"kind": kind, "version": VERSIONS[kind], "columns": {}})

    def to_schema_metadata(self) -> dict[bytes, bytes]:
        """File-level keys and values."""
        values = self.to_dict()
        text = json.dumps(values, separators=(",", ":"), allow_nan=False)
        return {KEY: text.encode(), PANDAS_KEY: json.dumps({KEY.decode(): values}, separators=(",", ":")).encode()}

    @classmethod
    def from_schema_metadata(cls, metadata: Mapping[bytes, bytes] | None, *, source: str | Path) -> Self:
        """Read back, from what pandas has kept where our own key was lost; ``source`` names the file in errors.

        Raises
        ------
        TableError
            There is no such metadata, it is damaged, or its major version is unknown.
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
                f"{source} is a table of {kind}, which this program does not know; use a newer lls-decode."
            )
        if major != expected[0]:
            raise TableError(
                f"{source} is a table of version {major}.{minor}, this program reads version {expected[0]}.x; "
                f"use an lls-decode that knows version {major}."
            )
        # a newer minor version may have more keys; they are not ours to understand
        known = {key: value for key, value in values.items() if key in cls.model_fields}
        try:
            return cls.model_validate(known)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise TableError(f"{source} has metadata that cannot be meant: {place}: {first['msg']}.") from error


def _steps(history: Iterable[dict[str, Any]], name: str) -> Iterator[dict[str, Any]]:
    for step in history:
        if step.get("step") == name:
            yield step
        for given in step.get("inputs", ()) if step.get("step") == "join" else ():
            yield from _steps(given.get("history", ()), name)


def has_metadata(metadata: Mapping[bytes, bytes] | None) -> bool:
    """Whether a file says what table of ours it is: under our own key, or in the attributes that pandas keeps."""
    found = metadata or {}
    return KEY in found or b'"lls_decode"' in found.get(PANDAS_KEY, b"")


def software_versions(*packages: str) -> dict[str, str]:
    """Versions of the installed packages that write tables, and of those named."""
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
