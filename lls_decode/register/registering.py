"""What ``lls-decode register`` does: measure or read a transformation, keep it, and move rows by it."""

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
    """How the map is measured; the keywords of `lls_decode.register.estimating.estimate`."""

    model: ModelName
    method: Method
    max_shift_nm: float | None
    max_angle_deg: float
    seed: int


@dataclass(frozen=True)
class Registered:
    """What a registration has made."""

    transformation: Transformation
    written: tuple[Path, ...]
    """Files: the transformation, the moved table; those that were asked for."""
    num_moved: int | None
    """Rows of ``out`` that were moved; None without it."""


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
    """Measure the map that lays one table, or channel, on another one, with its uncertainty, and move rows by it.

    Parameters
    ----------
    fixed
        The table that stays. With ``apply`` alone: the table to move.
    moving
        The table that is moved. None: another channel of ``fixed``.
    out
        The moved table. Of channels of one table: that table with the rows of ``moving_channel`` moved. None: only the
        transformation is written.
    transformation
        Where the transformation is written (YAML). None: beside ``out``, ``OUT_transformation.yaml``; without ``out``
        nowhere.
    apply
        A transformation, or the file of one, that is taken in place of a measured one.
    fixed_channel, moving_channel
        Channels that are compared; None: all rows of that table.
    max_points
        Rows of each table that are used, evenly spread.
    options
        Keywords of `lls_decode.register.estimating.estimate`: ``model``, ``method``, ``max_shift_nm``,
        ``max_angle_deg``, ``seed``.

    Raises
    ------
    ConfigError
        Nothing to move or to compare, other coordinates, a transformation that was applied already.
    TableError
        A table cannot be read, or the tables do not tell how they lie to each other.
    OutputError
        Full disk, read-only folder.
    """
    fixed = Path(fixed)
    if apply is not None:
        return _applied(fixed, moving, apply, out, moving_channel)
    if moving is None and (fixed_channel is None or moving_channel is None or fixed_channel == moving_channel):
        raise ConfigError(
            "There is one table; give the moving table too, or two different channels of the one (fixed_channel, "
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
        raise ConfigError("A given transformation moves one table; leave out the other one.")
    if out is None:
        raise ConfigError("A given transformation only serves to move a table; say where it is written (--out).")
    found = given if isinstance(given, Transformation) else read_transformation(given)
    return Registered(found, (Path(out),), apply_transformation(table, found, out, channel=channel))
