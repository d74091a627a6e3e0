"""Commands that measure how good a table is: evaluate, frc."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from lls_decode.errors import ConfigError
from lls_decode.pipelines.cli.guarding import OutputPath
from lls_decode.pipelines.cli.options import echo_json, echo_score, json_option, like_option, square_pixel
from lls_decode.pipelines.cli.parameters import LimitsType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lls_decode.evaluate import Evaluation, SubpixelBias
    from lls_decode.export.rows import Coords

Limits = tuple[float, float]


@click.command(
    options_metavar="[OPTIONS]",
    epilog="Example: lls-decode evaluate results/localizations.parquet truth.parquet --photons-min 50",
)
@click.argument("table")
@click.argument("truth", required=False)
@click.option("--lateral-nm", default=250.0, show_default=True, help="Largest lateral distance of a match.")
@click.option("--axial-nm", default=500.0, show_default=True, help="Largest axial distance of a match.")
@click.option("--method", type=click.Choice(["greedy", "hungarian"]), default="greedy", show_default=True)
@click.option("--photons-min", default=0.0, show_default=True, help="Dimmer truths need not be found.")
@click.option("--z-range-nm", type=LimitsType(), help="Truths outside need not be found.  [default: all]")
@click.option(
    "--border-nm", default=0.0, show_default=True, help="Emitters this near to the field's edge do not count."
)
@click.option("--field-nm", nargs=2, type=float, help="Extent of the field along x and y, for --border-nm.")
@click.option(
    "--pixel-nm", type=click.FloatRange(0, min_open=True),
    help="Pixel size, for csv truths that need it, and for sub-pixel bias.  [default: of the table]",
)  # fmt: skip
@click.option("--bg", type=click.FloatRange(0), help="True background, photons per pixel, where the truth has none.")
@click.option("--report", type=OutputPath(), help="Picture of all that was found (.png).")
@click.option("--model", help="Bundle (.lls, or a shipped one) whose PSF and camera give the bound.")
@click.option("--psf", type=click.Path(path_type=Path), help="PSF by 'calibrate' in place of the model's.")
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
    report: Path | None,
    model: str | None,
    psf: Path | None,
    as_json: bool,
) -> None:
    """Score a TABLE against its TRUTH.

    TRUTH is our Parquet, or csv of the SMLM challenge, NAIRR, ThunderSTORM. Without it: whether the positions of TABLE
    prefer a part of the pixel, which needs none. For frames without truth see 'lls-decode spike-in'.
    """
    from lls_decode.pipelines.flows.evaluation import evaluate_subpixel, evaluate_table

    pixel = square_pixel(pixel_nm)
    if truth is None:
        if any(value is not None for value in (report, model, psf, bg)):
            raise ConfigError("--report, --model, --psf and --bg compare a table with a truth; give TRUTH after TABLE.")
        biases = evaluate_subpixel(table, pixel_size=pixel)
        if as_json:
            echo_json({"subpixel": [bias.to_dict() for bias in biases]})
        else:
            _echo_subpixel(biases)
        return
    result = evaluate_table(
        table,
        truth,
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


def _echo_evaluation(result: "Evaluation") -> None:
    """Print scores, sigmas, bounds and sub-pixel bias, a line each."""
    echo_score(result.score)
    for label, pairs in (
        ("correlation", [(item.quantity, item.correlation) for item in result.sigmas]),
        ("- of molecules", [(item.quantity, item.emitter_correlation) for item in result.sigmas if item.num_emitters]),
        ("rmse / bound", [(item.quantity, item.ratio) for item in result.bounds]),
    ):
        if pairs:
            click.echo(f"{label:<14} {'  '.join(f'{name} {value:.3g}' for name, value in pairs)}")
    _echo_subpixel(result.subpixel, result.subpixel_true)


def _echo_subpixel(found: "Sequence[SubpixelBias]", true: "Sequence[SubpixelBias]" = ()) -> None:
    expected = {bias.axis: f" (truth {bias.modulation:+.3f})" for bias in true}
    for bias in found:
        click.echo(
            f"sub-pixel {bias.axis:<4} modulation {bias.modulation:+.3f} ± {bias.modulation_error:.3f}"
            f"{expected.get(bias.axis, '')}  amplitude {bias.amplitude:.3f}  "
            f"largest deviation {bias.largest_deviation:.1f} sigma"
        )


@click.command(epilog="Example: lls-decode frc results/localizations.parquet --out frc.png")
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--pixel-nm", type=click.FloatRange(0, min_open=True), help="Of the pictures.  [default: 5; in 3-D 20]")
@click.option("--blocks", default=10, show_default=True, help="Blocks of frames; even against odd ones.")
@click.option(
    "--coords", type=click.Choice(["auto", "raw", "deskewed", "sample"]), default="auto", show_default=True,
    help="Coordinates; auto: sample coordinates where the geometry is known, else camera ones (raw).",
)  # fmt: skip
@click.option("--view", type=click.Choice(["xy", "xz", "yz", "xyz"]), default="xy", show_default=True,
              help="Axes; xyz: Fourier shells.")  # fmt: skip
@click.option("--x-nm", type=LimitsType(), help="Range of x.  [default: all]")
@click.option("--y-nm", type=LimitsType(), help="Range of y.  [default: all]")
@click.option("--z-nm", type=LimitsType(), help="Range of z.  [default: all]")
@click.option("--channel", type=click.IntRange(0), help="Only the rows of this channel.  [default: all]")
@click.option("--out", type=OutputPath(), help="Picture of the curve (.png).")
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
    channel: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure the resolution of TABLE by Fourier ring (or shell) correlation.

    Even and odd blocks of frames are correlated; the threshold is 1/7.
    """
    from lls_decode.pipelines.flows.evaluation import frc as correlate

    region = {axis: limits for axis, limits in (("x", x_nm), ("y", y_nm), ("z", z_nm)) if limits is not None}
    curve = correlate(
        table, out=out, pixel_nm=pixel_nm, blocks=blocks, coords=coords, view=view, region_nm=region, channel=channel
    )
    if as_json:
        echo_json(curve.to_dict())
        return
    one, other = curve.num_localizations
    click.echo(f"{one} and {other} localizations, pixels of {curve.pixel_nm:g} nm")
    if curve.resolution_nm > 0:
        click.echo(f"resolution {curve.resolution_nm:.1f} nm (1/7)")
    elif not curve.reaches_threshold:
        click.echo(
            "no resolution finer than a tenth of the field: the halves are not correlated; more localizations help"
        )
    else:
        click.echo(f"finer than {2 * curve.pixel_nm:g} nm: the curve stays above 1/7; choose a smaller --pixel-nm")
