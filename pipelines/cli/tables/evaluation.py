"""Commands that judge: evaluate, frc."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from lls_decode.errors import ConfigError
from lls_decode.models import as_run_config, find_bundle
from lls_decode.pipelines.cli.options import (
    changed,
    echo_json,
    echo_score,
    json_option,
    progress_bar,
    set_option,
    square_pixel,
)


@click.command(
    options_metavar="[OPTIONS]",
    epilog="Example: lls-decode evaluate results/localizations.parquet truth.parquet --photons-min 50. "
    "Example: lls-decode evaluate --spike-in cell.zarr --model lls-paint --out accuracy/ --config run.yaml",
)
@click.argument("table", required=False)
@click.argument("truth", required=False)
@click.option("--lateral-nm", default=250.0, show_default=True, help="Largest lateral distance of a match.")
@click.option("--axial-nm", default=500.0, show_default=True, help="Largest axial distance of a match.")
@click.option("--method", type=click.Choice(["greedy", "hungarian"]), default="greedy", show_default=True)
@click.option("--photons-min", default=0.0, show_default=True, help="Dimmer truths need not be found.")
@click.option("--z-range-nm", nargs=2, type=float, help="Truths outside need not be found.")
@click.option(
    "--border-nm", default=0.0, show_default=True, help="Emitters this near to the field's edge do not count."
)
@click.option("--field-nm", nargs=2, type=float, help="Extent of the field along x and y, for --border-nm.")
@click.option(
    "--pixel-nm", type=click.FloatRange(0, min_open=True),
    help="Pixel size, for csv truths that need it, and for sub-pixel bias.  [default: of the table]",
)  # fmt: skip
@click.option("--bg", type=click.FloatRange(0), help="True background, photons per pixel, where the truth has none.")
@click.option("--report", type=click.Path(path_type=Path), help="Picture of all that was found (.png).")
@click.option("--model", help="Bundle (.lls, or a shipped one): to score with --spike-in; its PSF gives the bound.")
@click.option("--psf", type=click.Path(path_type=Path), help="PSF by 'calibrate' in place of the model's.")
@click.option("--spike-in", "dataset", metavar="DATASET", help="Frames to add emitters to, in place of TABLE TRUTH.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="With --spike-in: folder of spike_in.json, .parquet, .png."
)
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="With --spike-in: run configuration (YAML)."
)
@set_option
@click.option(
    "--photons", type=click.FloatRange(0, min_open=True),
    help="With --spike-in: mean photons per frame at full excitation.  [default: of the model's training]",
)  # fmt: skip
@click.option(
    "--density", type=click.FloatRange(0, min_open=True),
    help="With --spike-in: emitters per square micrometre and frame.  [default: 0.02]",
)  # fmt: skip
@click.option("--frames", type=click.IntRange(1), help="With --spike-in: frames in the sample.  [default: 512]")
@click.option("--seed", type=click.IntRange(0), help="With --spike-in: of emitters and sample.  [default: 0]")
@json_option
@click.pass_context
def evaluate(
    context: click.Context,
    /,
    table: str | None,
    truth: str | None,
    dataset: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Score a TABLE against its TRUTH, or a model on frames without truth (--spike-in).

    TRUTH is our Parquet, or csv of the SMLM challenge, NAIRR, ThunderSTORM. Without it: whether the positions of TABLE
    prefer a part of the pixel, which needs none.

    --spike-in adds the light of emitters of known position to a sample of the frames of DATASET, as the camera would
    have recorded it, localizes these frames, and reports recall, errors and sigmas on their own background.
    """
    given = {name for name in context.params if context.get_parameter_source(name) != ParameterSource.DEFAULT}
    if dataset is not None:
        _refuse(given, (*_TRUTH_OPTIONS, "table", "truth"), "goes with TABLE TRUTH, not with --spike-in")
        _evaluate_spikes(dataset, {name: options[name] for name in (*_SPIKE_OPTIONS, *_EITHER_OPTIONS)}, as_json)
        return
    _refuse(given, _SPIKE_OPTIONS, "goes with --spike-in DATASET, not with TABLE TRUTH")
    if table is None:
        raise click.UsageError("give TABLE and TRUTH, or --spike-in DATASET --model BUNDLE --out FOLDER.")
    _evaluate_table(table, truth, {name: options[name] for name in (*_TRUTH_OPTIONS, *_EITHER_OPTIONS)}, as_json)


def _evaluate_table(table: str, truth: str | None, options: dict[str, Any], as_json: bool) -> None:
    from lls_decode.pipelines.flows.evaluation import judge, judge_alone

    pixel, report = square_pixel(options.pop("pixel_nm")), options.pop("report")
    for name in ("z_range_nm", "field_nm"):
        options[name] = options[name] or None
    if truth is None:
        if report is not None or any(options[name] is not None for name in ("model", "psf", "bg")):
            raise ConfigError("--report, --model, --psf and --bg compare a table with a truth; give TRUTH after TABLE.")
        biases = judge_alone(table, pixel_size=pixel)
        if as_json:
            echo_json({"subpixel": [bias.to_dict() for bias in biases]})
        else:
            _echo_subpixel(biases)
        return
    result = judge(table, truth, pixel_size=pixel, report=report, **options)
    if as_json:
        echo_json(result.to_dict())
        return
    echo_score(result.score)
    for label, pairs in (
        ("correlation", [(item.quantity, item.correlation) for item in result.sigmas]),
        ("- of molecules", [(item.quantity, item.emitter_correlation) for item in result.sigmas if item.num_emitters]),
        ("rmse / bound", [(item.quantity, item.ratio) for item in result.bounds]),
    ):
        if pairs:
            click.echo(f"{label:<14} {'  '.join(f'{name} {value:.3g}' for name, value in pairs)}")
    _echo_subpixel(result.subpixel, result.subpixel_true)


def _echo_subpixel(found: Any, true: Any = ()) -> None:
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
    help="Frame of reference; auto: of the sample where the geometry is known.",
)  # fmt: skip
@click.option("--view", type=click.Choice(["xy", "xz", "yz", "xyz"]), default="xy", show_default=True,
              help="Axes; xyz: Fourier shells.")  # fmt: skip
@click.option("--x-nm", nargs=2, type=float, help="Range of x.  [default: all]")
@click.option("--y-nm", nargs=2, type=float, help="Range of y.  [default: all]")
@click.option("--z-nm", nargs=2, type=float, help="Range of z.  [default: all]")
@click.option("--out", type=click.Path(path_type=Path), help="Picture of the curve (.png).")
@json_option
def frc(table: Path, out: Path | None, as_json: bool, **options: Any) -> None:
    """Resolution of TABLE by Fourier ring (or shell) correlation of even and odd blocks of frames, threshold 1/7."""
    from lls_decode.pipelines.flows.evaluation import frc as correlate

    region = {axis: value for axis in "xyz" if (value := options.pop(f"{axis}_nm"))}
    curve = correlate(table, out=out, region_nm=region, **options)
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


_EITHER_OPTIONS = ("lateral_nm", "axial_nm", "model", "psf")
_TRUTH_OPTIONS = ("method", "photons_min", "z_range_nm", "border_nm", "field_nm", "pixel_nm", "bg", "report")
_SPIKE_OPTIONS = ("out", "config_path", "changes", "photons", "density", "frames", "seed")


def _refuse(given: set[str], names: tuple[str, ...], words: str) -> None:
    """Refuse options of the other way to evaluate."""
    flags = {"config_path": "--config", "changes": "--set", "table": "TABLE", "truth": "TRUTH"}
    for name in sorted(given.intersection(names)):
        raise click.UsageError(f"{flags.get(name, '--' + name.replace('_', '-'))} {words}.")


def _evaluate_spikes(dataset: str, options: dict[str, Any], as_json: bool) -> None:
    from lls_decode.pipelines.flows.spike_in import describe, spike_in

    model, out = options.pop("model"), options.pop("out")
    if model is None or out is None:
        raise click.UsageError("--spike-in needs --model BUNDLE and --out FOLDER.")
    config_path, changes = options.pop("config_path"), options.pop("changes")
    config = changed(as_run_config(config_path), changes)
    options["density_per_um2"] = options.pop("density")
    options = {name: value for name, value in options.items() if value is not None}
    with progress_bar("spiking and localizing frames") as progress:
        result = spike_in(dataset, find_bundle(model), out, config, progress=progress, **options)
    for note in result.notes:
        click.echo(f"note       {note}", err=True)
    if as_json:
        echo_json(result.report.to_dict())
        return
    for line in (*describe(result.report), f"written    {result.scores}, {result.table.name}, {result.picture.name}"):
        click.echo(line)
