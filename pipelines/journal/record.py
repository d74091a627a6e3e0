"""The record of a run, ``run.json``: everything that is needed to repeat the run, as one type."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lls_decode.axes import ContextKind, Layout
from lls_decode.blocks import Block, plan_blocks
from lls_decode.config import ResolvedRunConfig
from lls_decode.errors import InputError
from lls_decode.table import TableMetadata

RECORD_VERSION = 1
MOST_BLOCKS: Final = 2_000_000
"""Largest number of blocks of a run: twenty times that of 10 million frames. More would fill the client's memory."""
Time = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]
"""Seconds since 1970, before the year 5000."""
_ADVICE = "read the run with that version, or localize again into another folder"


class ModelRecord(BaseModel):
    """The model bundle of a run."""

    model_config = ConfigDict(frozen=True)

    path: str
    name: str
    digest: str


class RunRecord(BaseModel):
    """What a run consists of, and who started it. Written when a run starts, and again when it is resumed."""

    model_config = ConfigDict(frozen=True)

    version: int = RECORD_VERSION
    """Version of this record."""
    run_digest: str
    """Digest of everything that the rows depend on: the same for the same data, model and configuration."""
    dataset: str
    model: ModelRecord
    identity: dict[str, Any]
    """Values that ``run_digest`` is computed from. Comparing them shows how two runs differ."""
    samples: tuple[str, ...]
    """Digests of sampled chunks of the dataset."""
    config: ResolvedRunConfig
    """Resolved configuration."""
    context: ContextKind
    layout: Layout
    """Size of the dataset; of a growing dataset, the size of its complete part."""
    num_blocks: int = Field(ge=0, le=MOST_BLOCKS)
    table_metadata: TableMetadata
    """Metadata that the merged table gets."""
    notes: tuple[str, ...]
    """Notes of the plan."""
    software: dict[str, str]
    """Versions of packages."""
    created_at: Time
    """First start, seconds since 1970."""
    started_at: Time
    """Latest start."""
    host: str
    """Machine of the latest start."""
    pid: int

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse sizes that no dataset has."""
        size = self.layout
        if min(size.num_volumes, size.planes_per_volume - 1, size.height - 1, size.width - 1) < 0:
            raise ValueError(f"layout is {size}, expected positive numbers")
        return self

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str) -> Self:
        """Return the record with plain values, as `to_dict` gives them; ``source`` names the file in errors.

        Raises
        ------
        InputError
            The record has another version, or other keys or kinds of values than this version writes.
        """
        try:
            if values["version"] != RECORD_VERSION:
                raise InputError(
                    f"{source} is a record of version {values['version']}, but this program reads version "
                    f"{RECORD_VERSION}: another version of lls-decode has written it; {_ADVICE}."
                )
            record = cls.model_validate(values)
        except KeyError as error:
            raise _missing_key(source, error.args[0]) from error
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] == "missing":
                raise _missing_key(source, first["loc"][-1]) from None
            place = ".".join(str(part) for part in first["loc"])
            raise InputError(
                f"{source} does not have the format of this version ({place}: {first['msg']}): another version of "
                f"lls-decode has written it; {_ADVICE}."
            ) from None
        absent = _find_absent(record.to_dict(), values)
        if absent is not None:  # a default must not replace an unknown value
            raise _missing_key(source, absent)
        return record

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return self.model_dump(mode="json")

    def plan_blocks(self) -> tuple[Block, ...]:
        """Return the blocks of the run, in order.

        Raises
        ------
        InputError
            The recorded size of the dataset gives more blocks than a run can have.
        """
        if self.layout.num_frames // self.config.execution.block_frames > MOST_BLOCKS:
            raise InputError(
                f"The record (run.json) of {self.dataset} states {self.layout.num_frames:,} frames in blocks of "
                f"{self.config.execution.block_frames}, more than {MOST_BLOCKS:,} blocks; restore it from a copy."
            )
        volumes = self.config.part.volumes or (None, None)
        return plan_blocks(self.layout, self.context, self.config.execution.block_frames, volumes=volumes)

    def with_layout(self, layout: Layout) -> Self:
        """Return the same record for a dataset that has grown."""
        return self.model_copy(update={"layout": layout})


def _missing_key(source: str, key: object) -> InputError:
    return InputError(f"{source} has no '{key}': another version of lls-decode has written it; {_ADVICE}.")


def _find_absent(expected: Mapping[str, Any], values: Mapping[str, Any]) -> str | None:
    """Return the first key of nested mappings that the values lack; None if they have all keys."""
    for key, value in expected.items():
        if key not in values:
            return key
        inner = values[key]
        if isinstance(value, Mapping) and isinstance(inner, Mapping) and (absent := _find_absent(value, inner)):
            return absent
    return None
