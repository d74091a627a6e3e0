"""Commands that measure the quality of a table: evaluate, frc."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from lls_decode.axes import IndexRange
from lls_decode.errors import ConfigError
from lls_decode.pipelines.cli.guarding import OutputPath
from lls_decode.pipelines.cli.options import (
    echo,
    echo_json,
    echo_score,
    json_option,
    like_option,
    match_options,
    square_pixel,
)
from lls_decode.pipelines.cli.parameters import ANY_PATH, MODEL, IndexRangeType, LimitsType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lls_decode.evaluate import Evaluation, SubpixelBias
    from lls_decode.evaluate.diagnosis import PlaneOrder
    from lls_decode.export.rows import Coords

Limits = tuple[float, float]


@click.command(
    options_metavar="[OPTIONS]",
    short_help="Score a table against ground truth.",
    epilog="Example: lls-decode evaluate results/localizations.parquet truth.parquet --photons-min 50",
)
@click.argument("table", type=ANY_PATH)
@click.argument("truth", type=ANY_PATH, required=False)
@match_options
@click.option("--method", type=click.Choice(["greedy", "hungarian"]), default="greedy", show_default=True,
              help="Algorithm that matches localizations to true emitters.")  # fmt: skip
@click.option("--photons-min", default=0.0, show_default=True,
              help="Photons below which a true emitter may be missed without penalty.")  # fmt: skip
@click.option("--z-range-nm", type=LimitsType(),
              help="z range outside which emitters may be missed without penalty, nm.  [default: all]")  # fmt: skip
@click.option(
    "--border-nm",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Ignore emitters this close to the edge of the field, nm.",
)
@click.option(
    "--field-nm",
    nargs=2,
    type=click.FloatRange(0, min_open=True),
    help="Extent of the field along x and y, nm; for --border-nm.",
)
@click.option(
    "--pixel-nm", type=click.FloatRange(0, min_open=True),
    help="Pixel size, nm; for sub-pixel bias and for csv truths in pixels.  [default: from the table]",
)  # fmt: skip
@click.option("--bg", type=click.FloatRange(0), help="True background, photons per pixel, if TRUTH has none.")
@click.option("--frames", type=IndexRangeType(), help="Evaluate only these frames.  [default: all that TABLE covers]")
@click.option(
    "--truth-first-frame", type=int, help="Number of the first frame in TRUTH.  [default: depends on its format]"
)
@click.option(
    "--truth-planes", type=click.Choice(["as_is", "reversed", "alternating", "transposed"]), default="as_is",
    help="Plane order in TRUTH: reversed; alternating (every second volume reversed); transposed (all volumes of one "
    "plane first).",
)  # fmt: skip
@click.option("--truth-axes", metavar="X,Y,Z", help="Axes of TRUTH to use as x, y, z, e.g. y,x,z or -x,y,z (mirrored).")
@click.option("--truth-scale", default=1.0, help="Factor to multiply x and y of TRUTH with.")
@click.option("--truth-z-scale", default=1.0, help="Factor to multiply z of TRUTH with.")
@click.option(
    "--truth-shift-nm", nargs=3, type=float, default=(0.0, 0.0, 0.0), help="Shift to add to x, y, z of TRUTH."
)
@click.option("--truth-photons-factor", default=1.0, help="Factor to multiply photons of TRUTH with.")
@click.option("--ignore-z", is_flag=True, help="Compare in x and y only.")
@click.option("--diagnosis/--no-diagnosis", default=True, help="Whether to look for mismatches of TABLE and TRUTH.")
@click.option("--report", type=OutputPath(".png"), help="Picture of all results to write (.png).")
@click.option(
    "--model",
    type=MODEL,
    help="Bundle (.lls) or shipped model whose PSF gives the precision bound, for the camera of TABLE.",
)
@click.option("--psf", type=click.Path(path_type=Path), help="PSF from 'calibrate' to use instead of the model's.")
@like_option
@json_option
def evaluate(
    table: str,
    truth: str | None,
    lateral_nm: float,
    axial_nm: float,
    method: Literal["greedy", "hungarian"],
    photons_min: float,
    z_range_nm: Limits | None,
    border_nm: float,
    field_nm: tuple[float, float] | None,
    pixel_nm: float | None,
    bg: float | None,
    frames: IndexRange | None,
    truth_first_frame: int | None,
    truth_planes: "PlaneOrder",
    truth_axes: str | None,
    truth_scale: float,
    truth_z_scale: float,
    truth_shift_nm: tuple[float, float, float],
    truth_photons_factor: float,
    ignore_z: bool,
    diagnosis: bool,
    report: Path | None,
    model: str | None,
    psf: Path | None,
    as_json: bool,
) -> None:
    """Score TABLE against TRUTH, and point out likely mismatches between them, e.g. swapped axes.

    TRUTH is a Parquet table of lls-decode, or a csv of the SMLM challenge, NAIRR or ThunderSTORM. The --truth options
    transform it before the comparison, in the order listed below. Only frames that TABLE covers are evaluated; frames
    without localizations count. Without TRUTH, the command measures whether positions in TABLE are biased towards parts
    of the pixel. To measure accuracy on frames without truth, use 'lls-decode spike-in'.
    """
    from lls_decode.evaluate.diagnosis import TruthChange
    from lls_decode.pipelines.flows.evaluation import evaluate_subpixel, evaluate_table

    pixel = square_pixel(pixel_nm)
    if truth is None:
        if any(value is not None for value in (report, model, psf, bg)):
            raise ConfigError("--report, --model, --psf and --bg need a truth to compare with; give TRUTH after TABLE.")
        biases = evaluate_subpixel(table, pixel_size=pixel)
        if as_json:
            echo_json({"subpixel": [bias.to_dict() for bias in biases]})
        else:
            _echo_subpixel(biases)
        return
    change = TruthChange(
        planes=truth_planes,
        axes=_axes(truth_axes),
        scale=truth_scale,
        z_scale=truth_z_scale,
        shift_nm=truth_shift_nm,
        photons_factor=truth_photons_factor,
        ignore_z=ignore_z,
    )
    result = evaluate_table(
        table,
        truth,
        frames=frames,
        change=change,
        first_frame=truth_first_frame,
        diagnosis=diagnosis,
        pixel_size=pixel,
        model=model,
        psf=psf,
        bg=bg,
        report=report,
        lateral_nm=lateral_nm,
        axial_nm=axial_nm,
        method=method,
        photons_min=photons_min,
        z_range_nm=z_range_nm,
        border_nm=border_nm,
        field_nm=field_nm,
    )
    if as_json:
        echo_json(result.to_dict())
    else:
        _echo_evaluation(result)


def _axes(text: str | None) -> tuple[str, str, str]:
    """Return the three axes given by ``--truth-axes``."""
    if text is None:
        return "x", "y", "z"
    names = [name.strip() for name in text.split(",")]
    if len(names) != 3:
        raise ConfigError(f"--truth-axes {text}: expected three axes, e.g. y,x,z or -x,y,z.")
    return names[0], names[1], names[2]


def _echo_evaluation(result: "Evaluation") -> None:
    """Print scores, errors, sigmas, bounds, sub-pixel bias and likely mismatches, one line each."""
    from lls_decode.evaluate.wording import bound_lines, error_lines

    echo_score(result.score, has_z=result.has_z)
    if result.frames is not None:
        echo(f"{'frames':<14} {result.frames.describe()}")
    for line in (*error_lines(result), *bound_lines(result)):
        echo(line)
    for label, pairs in (
        ("correlation", [(item.quantity, item.correlation) for item in result.sigmas]),
        ("- of molecules", [(item.quantity, item.emitter_correlation) for item in result.sigmas if item.num_emitters]),
    ):
        if pairs:
            echo(f"{label:<14} {'  '.join(f'{name} {value:.3g}' for name, value in pairs)}")
    _echo_subpixel(result.subpixel, result.subpixel_true)
    for line in result.diagnosis.lines() if result.diagnosis is not None else ():
        echo(line)


def _echo_subpixel(found: "Sequence[SubpixelBias]", true: "Sequence[SubpixelBias]" = ()) -> None:
    expected = {bias.axis: f" (truth {bias.modulation:+.3f})" for bias in true}
    for bias in found:
        echo(
            f"sub-pixel {bias.axis:<4} modulation {bias.modulation:+.3f} ± {bias.modulation_error:.3f}"
            f"{expected.get(bias.axis, '')}  amplitude {bias.amplitude:.3f}  "
            f"largest deviation {bias.largest_deviation:.1f} sigma"
        )


@click.command(
    short_help="Measure resolution by Fourier ring correlation.",
    epilog="Example: lls-decode frc results/localizations.parquet --out frc.png",
)
@click.argument("table", type=click.Path(path_type=Path))
@click.option(
    "--pixel-nm",
    type=click.FloatRange(0, min_open=True),
    help="Pixel size of the rendered images, nm.  [default: 5; in 3-D 20]",
)
@click.option(
    "--blocks", default=10, show_default=True, help="Number of blocks of frames; even and odd blocks are compared."
)
@click.option(
    "--coords", type=click.Choice(["auto", "raw", "deskewed", "sample"]), default="auto", show_default=True,
    help="Coordinates to use; auto: sample coordinates if the geometry is known, else camera coordinates (raw).",
)  # fmt: skip
@click.option("--view", type=click.Choice(["xy", "xz", "yz", "xyz"]), default="xy", show_default=True,
              help="Axes to correlate; xyz computes Fourier shell correlation.")  # fmt: skip
@click.option("--x-nm", type=LimitsType(), help="Range of x, nm.  [default: all]")
@click.option("--y-nm", type=LimitsType(), help="Range of y, nm.  [default: all]")
@click.option("--z-nm", type=LimitsType(), help="Range of z, nm.  [default: all]")
@click.option("--interval/--no-interval", default=None,
              help="Whether to estimate an error interval.  [default: for up to 500 000 localizations]")  # fmt: skip
@click.option("--channel", type=click.IntRange(0), help="Use only this channel.  [default: all]")
@click.option("--out", type=OutputPath(".png"), help="Picture of the curve to write (.png).")
@like_option
@json_option
def frc(
    table: Path,
    pixel_nm: float | None,
    blocks: int,
    coords: 'Coords | Literal["auto"]',
    view: Literal["xy", "xz", "yz", "xyz"],
    x_nm: Limits | None,
    y_nm: Limits | None,
    z_nm: Limits | None,
    interval: bool | None,
    channel: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure the resolution of TABLE by Fourier ring (or shell) correlation.

    Images from even and odd blocks of frames are correlated; the threshold is 1/7. The uncertainty interval is
    estimated by leaving out parts of the frames in turn.
    """
    from lls_decode.pipelines.flows.evaluation import frc as correlate

    region = {axis: limits for axis, limits in (("x", x_nm), ("y", y_nm), ("z", z_nm)) if limits is not None}
    curve = correlate(
        table,
        out=out,
        pixel_nm=pixel_nm,
        blocks=blocks,
        coords=coords,
        view=view,
        region_nm=region,
        interval=interval,
        channel=channel,
    )
    if as_json:
        echo_json(curve.to_dict())
        return
    one, other = curve.num_localizations
    echo(f"{one} and {other} localizations, pixels of {curve.pixel_nm:g} nm")
    for line in curve.describe():
        echo(line)
