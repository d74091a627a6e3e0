"""The command ``lls-decode drift``: measures or reads a drift, saves, draws and judges it, and corrects the table."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from lls_decode.drift.benefit.benefit import Benefit
from lls_decode.drift.benefit.judging import JudgeOptions, judge_drift
from lls_decode.drift.curve.coverage import Coverage, survey_coverage
from lls_decode.drift.curve.curve import DriftCurve
from lls_decode.drift.curve.files import read_curve, write_curve
from lls_decode.drift.estimating import DriftOptions, estimate_drift
from lls_decode.drift.figure import draw_curve
from lls_decode.drift.points import TableView, survey_volumes
from lls_decode.drift.shifting import check_curve, correct_table
from lls_decode.errors import ConfigError, TableError
from lls_decode.table import count_rows

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Corrected:
    """Result of a drift correction."""

    curve: DriftCurve
    written: tuple[Path, ...]
    """Files written, as requested: the curve, its picture, the corrected table."""
    rows: int | None
    """Number of rows of the corrected table; None without one."""
    coverage: Coverage
    """Which rows lie in volumes that the curve covers."""
    benefit: Benefit
    """Whether the correction helps."""


def correct_drift(
    table: str | Path,
    *,
    out: str | Path | None = None,
    curve: str | Path | None = None,
    picture: str | Path | None = None,
    apply: str | Path | None = None,
    force: bool = False,
    **options: Unpack[DriftOptions],
) -> Corrected:
    """Measure the drift of a table, save and judge it, and write the corrected table.

    Parameters
    ----------
    out
        Path of the corrected table; may be ``table`` itself. None: no table is written.
    curve
        Path of the measured curve. None: ``TABLE_drift.parquet`` beside the table.
    picture
        Path of the curve's picture. None: beside the curve, as ``.png``.
    apply
        Path of a curve (Parquet or csv) to use instead of measuring one; only ``out`` is written then.
    force
        Write ``out`` even if the measured drift makes the table worse.
    options
        Keyword arguments of `estimate_drift`.

    Raises
    ------
    ConfigError, TableError, OutputError
        As for `estimate_drift`, `read_curve` and `correct_table`. Also TableError if the correction would make the
        table worse; the curve and its picture are written even then.
    """
    table = Path(table)
    if apply is not None:
        if out is None:
            raise ConfigError(
                "A given curve is only used to correct a table; say where to write the table (--out, --in-place)."
            )
        view = TableView.of(table)
        about = view.metadata
        given = read_curve(
            apply, coords=view.coords, planes_per_volume=about.planes_per_volume, pixel_size=about.pixel_size
        )
        check_curve(view, given)
        coverage, benefit = survey_coverage(table, given), _judge_given(view, given)
        return Corrected(given, (Path(out),), correct_table(table, given, out), coverage, benefit)
    found = estimate_drift(table, **options)
    curve = Path(curve) if curve is not None else table.with_name(f"{table.stem}_drift.parquet")
    written = [write_curve(curve, found), *_draw(table, found, curve.with_suffix(".png"), picture)]
    coverage, benefit = survey_coverage(table, found), judge_drift(table, found, **_judged_by(options))
    if out is None:
        return Corrected(found, tuple(written), None, coverage, benefit)
    if benefit.verdict == "worse" and not force:
        raise TableError(
            f"The drift measured in {table} was not corrected, since {benefit.words()}; look at the curve in "
            f"{curve}, measure the drift in another way (--method, --windows), or write the table anyway (--force)."
        )
    return Corrected(found, (*written, Path(out)), correct_table(table, found, out), coverage, benefit)


def _judge_given(view: TableView, given: DriftCurve) -> Benefit:
    """Judge a given curve, as far as the table can tell: it is applied even to the rows of a single volume."""
    first, last = survey_volumes(view.path, least=1)
    if first == last:
        return Benefit("not told", count_rows(view.path))
    return judge_drift(view.path, replace(given, method="given"))


def _judged_by(options: DriftOptions) -> JudgeOptions:
    """Return the options that also apply to a drift measured from half of the table."""
    judged: JudgeOptions = {}
    if "max_shift_nm" in options:
        judged["max_shift_nm"] = options["max_shift_nm"]
    if "num_windows" in options:
        judged["num_windows"] = options["num_windows"]
    if "max_points" in options:
        judged["max_points"] = options["max_points"]
    if "radius_nm" in options:
        judged["radius_nm"] = options["radius_nm"]
    if "channel" in options:
        judged["channel"] = options["channel"]
    return judged


def _draw(table: Path, curve: DriftCurve, default: Path, asked: str | Path | None) -> list[Path]:
    """Draw the picture; only log a warning if matplotlib is missing and no picture was requested."""
    try:
        draw_curve(asked or default, curve, title=table.name)
    except ConfigError as error:
        if asked is not None:
            raise
        _logger.warning("%s", error)
        return []
    return [Path(asked or default)]
