"""Command ``drift``: estimate and correct sample drift."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from lls_decode.outputs import in_place
from lls_decode.pipelines.cli.guarding import OutputPath
from lls_decode.pipelines.cli.options import echo, echo_json, json_option, like_option, progress_bar
from lls_decode.pipelines.cli.parameters import ParamType

if TYPE_CHECKING:
    from lls_decode.drift import Corrected
    from lls_decode.drift.estimating import Method

Place = tuple[float, float]
_NOT_PRINTED = ("window_centres", "places_nm")


class _Place(ParamType):
    """Position ``X,Y`` in nm, or the path of a csv."""

    name = "X,Y"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or value.lower().endswith(".csv"):
            return value
        try:
            x, y = (float(word) for word in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not a position; give X,Y in nm, or a .csv with the columns x_nm,y_nm.", param, ctx)
        return x, y


_OF_ESTIMATES = (
    "method", "num_windows", "max_shift_nm", "fiducials", "radius_nm", "min_share", "smooth", "channel", "curve",
    "picture",
)  # fmt: skip
"""Parameters that only affect an estimate of drift."""


@click.command(
    short_help="Estimate and correct sample drift.",
    epilog="Example: lls-decode drift results/localizations.parquet --out corrected.parquet. "
    "Example: lls-decode drift results/localizations.parquet --method fiducials --in-place",
)
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--out", type=OutputPath(), help="Drift-corrected table to write.")
@click.option("--in-place", "in_place_asked", is_flag=True, help="Replace TABLE by the drift-corrected table.")
@click.option("--method", type=click.Choice(["rcc", "fiducials", "comet"]), default="rcc", show_default=True,
              help="Redundant cross-correlation, beads, or the package comet-smlm.")  # fmt: skip
@click.option("--windows", "num_windows", type=click.IntRange(2),
              help="Number of time windows (rcc, comet).  [default: from the drift; comet: 100]")  # fmt: skip
@click.option("--max-drift-nm", "max_shift_nm", type=click.FloatRange(0, min_open=True),
              help="Largest drift expected, nm (rcc, comet).  [default: 2000; comet: 300]")  # fmt: skip
@click.option("--fiducials", multiple=True, type=_Place(), metavar="X,Y",
              help="Position of a bead, nm; in sample coordinates if the geometry is known. Repeat for several beads, "
              "or give a .csv with x_nm,y_nm.  [default: beads are detected automatically]")  # fmt: skip
@click.option("--radius-nm", default=500.0, show_default=True, help="Largest movement of a bead from its position, nm.")
@click.option("--min-share", type=click.FloatRange(0, 1, min_open=True),
              help="Smallest fraction of volumes that show a bead.  [default: 0.8; given beads: 0.2]")  # fmt: skip
@click.option("--smooth", type=click.FloatRange(0),
              help="Smoothing window of the bead curve, volumes.  [default: by cross-validation]")  # fmt: skip
@click.option("--channel", type=click.IntRange(0),
              help="Estimate drift from this channel only.  [default: one curve from all channels]")  # fmt: skip
@click.option("--curve", type=OutputPath(), help="File to write the drift curve to.  [default: TABLE_drift.parquet]")
@click.option("--png", "picture", type=OutputPath(".png"), help="Picture of the curve.  [default: beside the curve]")
@click.option(
    "--apply",
    type=click.Path(path_type=Path),
    metavar="CURVE",
    help="Apply this curve (Parquet or csv) instead of estimating one.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Write the table even if the correction makes it worse, and replace files that lls-decode did not write.",
)
@click.option("--undo", is_flag=True, help="Remove the last correction from TABLE.")
@like_option
@json_option
def drift(
    table: Path,
    out: Path | None,
    in_place_asked: bool,
    method: "Method",
    num_windows: int | None,
    max_shift_nm: float | None,
    fiducials: tuple[str | Place, ...],
    radius_nm: float,
    min_share: float | None,
    smooth: float | None,
    channel: int | None,
    curve: Path | None,
    picture: Path | None,
    apply: Path | None,
    force: bool,
    undo: bool,
    as_json: bool,
) -> None:
    """Estimate sample drift in TABLE and write a drift-corrected table.

    Without --out or --in-place, only the drift curve and its picture are written. --undo removes a correction. --apply
    corrects another table of the same acquisition with an existing curve; rows before or after the curve are shifted
    like those at its ends.

    The benefit of the correction is measured on rows that were not used to estimate it. If an estimated correction
    makes the table worse, no table is written and the exit status is 3; --force writes the table anyway. A given curve
    (--apply) is always applied.
    """
    from lls_decode.drift import correct_drift, undo_correction

    if undo or apply is not None:
        _check_unused("--undo" if undo else "--apply", *(("apply",) if undo else ()))
    final = _final(table, out, in_place_asked)
    replacing = in_place(table) if in_place_asked else nullcontext()
    if undo:
        if final is None:
            raise click.UsageError("--undo writes a table; give --out or --in-place.")
        with replacing:
            rows = undo_correction(table, final)
        _echo({"table": str(final), "rows": rows}, [f"{final}: {rows} localizations restored"], as_json)
        return
    if fiducials and method != "fiducials":
        raise click.UsageError("--fiducials needs --method fiducials; add it, or omit --fiducials.")
    with replacing, progress_bar("comparing time windows") as progress:
        made = correct_drift(
            table,
            out=final,
            curve=curve,
            picture=picture,
            apply=apply,
            force=force,
            method=method,
            max_shift_nm=max_shift_nm,
            num_windows=num_windows,
            fiducials=_beads(fiducials),
            radius_nm=radius_nm,
            min_share=min_share,
            smooth=smooth,
            channel=channel,
            progress=progress,
        )
    values = _told(made)
    about = {**values, "volumes": f"{made.curve.first_volume} to {made.curve.last_volume}"}
    about |= {name: f"{values[name]:.2%}" for name in ("unsupported_rows", "unsupported_volumes") if name in values}
    about["helps"] = made.benefit.words()
    lines = [f"{name:<12} {_words(value)}" for name, value in about.items() if value not in (None, [])]
    _echo(values, [*lines, *([outside] if (outside := made.coverage.words()) else [])], as_json)


def _check_unused(option: str, *more: str) -> None:
    """Refuse options that only affect an estimate, if a given curve is applied or a correction is removed."""
    context = click.get_current_context()
    for param in context.command.params:
        if param.name in (*_OF_ESTIMATES, *more) and (
            context.get_parameter_source(param.name) is click.core.ParameterSource.COMMANDLINE
        ):
            raise click.UsageError(f"{param.opts[0]} has no effect with {option}, which estimates no drift; omit it.")


def _told(made: "Corrected") -> dict[str, Any]:
    """Return the results to print, by name."""
    found, coverage, benefit = made.curve, made.coverage, made.benefit
    range_nm = np.ptp(found.shift_nm, axis=0)[: found.num_axes]
    uncertainty = np.median(found.sigma_nm, axis=0)[: found.num_axes]
    return {
        "method": found.method,
        "coords": found.coords,
        "volumes": [found.first_volume, found.last_volume + 1],
        "range_nm": range_nm.round(3).tolist(),
        "uncertainty_nm": None if np.isnan(uncertainty).any() else uncertainty.round(3).tolist(),
        **{name: value for name, value in found.details.items() if name not in _NOT_PRINTED},
        "unsupported_rows": round(coverage.unsupported_share, 5),
        "rows_before": coverage.before,
        "rows_after": coverage.after,
        "helps": benefit.verdict,
        "gain": None if benefit.gain is None else [round(benefit.gain, 4), round(benefit.gain_sigma or 0.0, 4)],
        "resolution_nm": [
            None if value is None else round(value, 1)
            for value in (benefit.resolution_before_nm, benefit.resolution_after_nm)
        ],
        "rows": made.rows,
        "written": [str(path) for path in made.written],
    }


def _final(table: Path, out: Path | None, in_place: bool) -> Path | None:
    if in_place and out is not None:
        raise click.UsageError("give --out or --in-place, not both.")
    if out is not None and out.exists() and table.exists() and out.samefile(table):
        raise click.UsageError(f"{out} is the input table; use --in-place to replace it.")
    return table if in_place else out


def _beads(given: tuple[str | Place, ...]) -> str | list[Place] | None:
    """Return the bead positions, or the path of the csv; None if neither is given."""
    files = [value for value in given if isinstance(value, str)]
    if files and len(given) > 1:
        raise click.UsageError("give either positions of beads or one csv.")
    return files[0] if files else [place for place in given if not isinstance(place, str)] or None


def _echo(values: dict[str, Any], words: list[str], as_json: bool) -> None:
    if as_json:
        echo_json(values)
        return
    for line in words:
        echo(line)


def _words(value: Any) -> str:
    return "  ".join(str(part) for part in value) if isinstance(value, list) else str(value)
