"""What ``lls-decode drift`` does: measure or read a drift, keep it, draw it, and move the rows of a table by it."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from lls_decode.drift.curve import DriftCurve, read_curve, write_curve
from lls_decode.drift.estimating import DriftOptions, estimate_drift
from lls_decode.drift.figure import draw_curve
from lls_decode.drift.points import TableView
from lls_decode.drift.shifting import correct_table
from lls_decode.errors import ConfigError

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Corrected:
    """What a correction has made."""

    curve: DriftCurve
    written: tuple[Path, ...]
    """Files: the curve, its picture, the corrected table; those that were asked for."""
    rows: int | None
    """Of the corrected table; None without one."""


def correct_drift(
    table: str | Path,
    *,
    out: str | Path | None = None,
    curve: str | Path | None = None,
    picture: str | Path | None = None,
    apply: str | Path | None = None,
    **options: Unpack[DriftOptions],
) -> Corrected:
    """Measure the drift of a table, write it, and write the table without it.

    Parameters
    ----------
    out
        The corrected table; may be ``table`` itself. None: the table is not touched.
    curve
        Where the measured curve is written. None: beside the table, ``TABLE_drift.parquet``.
    picture
        Its picture. None: beside the curve, as ``.png``.
    apply
        A curve that is taken in place of a measured one; nothing is written but ``out``.
    options
        Keywords of `estimate_drift`.

    Raises
    ------
    ConfigError, TableError, OutputError
        As `estimate_drift`, `read_curve` and `correct_table`.
    """
    table = Path(table)
    if apply is not None:
        if out is None:
            raise ConfigError(
                "A given curve only serves to correct a table; say where it is written (--out, --in-place)."
            )
        given = read_curve(apply, coords=TableView.of(table).coords)
        return Corrected(given, (Path(out),), correct_table(table, given, out))
    found = estimate_drift(table, **options)
    curve = Path(curve) if curve is not None else table.with_name(f"{table.stem}_drift.parquet")
    written = [write_curve(curve, found), *_draw(table, found, curve.with_suffix(".png"), picture)]
    if out is None:
        return Corrected(found, tuple(written), None)
    return Corrected(found, (*written, Path(out)), correct_table(table, found, out))


def _draw(table: Path, curve: DriftCurve, default: Path, asked: str | Path | None) -> list[Path]:
    """The picture; where none was asked for and matplotlib is absent, a word in the log."""
    try:
        draw_curve(asked or default, curve, title=table.name)
    except ConfigError as error:
        if asked is not None:
            raise
        _logger.warning("%s", error)
        return []
    return [Path(asked or default)]
