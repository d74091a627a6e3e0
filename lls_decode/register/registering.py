"""The command ``lls-decode register``: measures or reads a transformation, saves it, and moves rows by it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

from lls_decode.errors import ConfigError
from lls_decode.outputs import guarded
from lls_decode.register.applying import apply_transformation
from lls_decode.register.estimating import Method, estimate
from lls_decode.register.models import ModelName
from lls_decode.register.points import MAX_POINTS, read_cloud
from lls_decode.register.transformation import Transformation, read_transformation, write_transformation


class RegisterOptions(TypedDict, total=False):
    """Options of the measurement; the keyword arguments of `lls_decode.register.estimating.estimate`."""

    model: ModelName
    method: Method
    max_shift_nm: float | None
    max_angle_deg: float
    seed: int


@dataclass(frozen=True)
class Registered:
    """Result of a registration."""

    transformation: Transformation
    written: tuple[Path, ...]
    """Files written, as requested: the transformation and the moved table."""
    num_moved: int | None
    """Number of rows of ``out`` that were moved; None without ``out``."""


@guarded
def register_tables(
    fixed: str | Path,
    moving: str | Path | None = None,
    *,
    out: str | Path | None = None,
    transformation: str | Path | None = None,
    apply: str | Path | Transformation | None = None,
    fixed_channel: int | None = None,
    moving_channel: int | None = None,
    max_points: int = MAX_POINTS,
    **options: Unpack[RegisterOptions],
) -> Registered:
    """Measure the map from one table or channel to another, with its uncertainty, and move rows by it.

    Parameters
    ----------
    fixed
        Table that stays in place. With ``apply``: the table to move.
    moving
        Table that is moved. None: another channel of ``fixed``.
    out
        Path of the moved table. For channels of one table: that table with the rows of ``moving_channel`` moved. None:
        only the transformation is written.
    transformation
        Path of the transformation (YAML). None: ``OUT_transformation.yaml`` beside ``out``; without ``out`` it is not
        written.
    apply
        Transformation, or path of one, to use instead of measuring one.
    fixed_channel, moving_channel
        Channels to compare; None: all rows of the table.
    max_points
        Largest number of rows of each table that are used, evenly spread.
    options
        Keyword arguments of `lls_decode.register.estimating.estimate`: ``model``, ``method``, ``max_shift_nm``,
        ``max_angle_deg``, ``seed``.

    Raises
    ------
    ConfigError
        Nothing to move or to compare, different coordinates, or a transformation that has already been applied.
    TableError
        A table cannot be read, or the map cannot be determined from the tables.
    OutputError
        Full disk, read-only folder.
    """
    fixed = Path(fixed)
    if apply is not None:
        return _applied(fixed, moving, apply, out, moving_channel)
    if moving is None and (fixed_channel is None or moving_channel is None or fixed_channel == moving_channel):
        raise ConfigError(
            "There is one table; also give the moving table, or two different channels of this one (fixed_channel, "
            "moving_channel: --fixed-channel 0 --moving-channel 1)."
        )
    moved = fixed if moving is None else Path(moving)
    found = estimate(
        read_cloud(fixed, channel=fixed_channel, max_points=max_points),
        read_cloud(moved, channel=moving_channel, max_points=max_points),
        **options,
    )
    if transformation is None and out is not None:
        transformation = Path(out).with_name(f"{Path(out).stem}_transformation.yaml")
    written = [] if transformation is None else [write_transformation(transformation, found)]
    if out is None:
        return Registered(found, tuple(written), None)
    num = apply_transformation(moved, found, out, channel=moving_channel)
    return Registered(found, (*written, Path(out)), num)


def _applied(
    table: Path,
    moving: str | Path | None,
    given: str | Path | Transformation,
    out: str | Path | None,
    channel: int | None,
) -> Registered:
    if moving is not None:
        raise ConfigError("A given transformation moves one table; omit the other table.")
    if out is None:
        raise ConfigError("A given transformation is only used to move a table; say where to write it (--out).")
    found = given if isinstance(given, Transformation) else read_transformation(given)
    return Registered(found, (Path(out),), apply_transformation(table, found, out, channel=channel))
