"""Commands about model bundles: the group ``model``."""

from pathlib import Path

import click
import yaml

from lls_decode.errors import BundleError, shell_command
from lls_decode.models import find_bundle, shipped

from .guarding import OutputPath
from .options import chosen_device, device_option, echo, echo_json, echo_score, json_option
from .parameters import MODEL


@click.group()
def model() -> None:
    """Show, list, import and recalibrate model bundles."""


@model.command(
    short_help="Print the metadata of a bundle.",
    epilog="Example: lls-decode model info lls-paint --figure reliability.png",
)
@click.argument("bundle", type=MODEL)
@click.option(
    "--figure", type=OutputPath(".png"), help="Picture to write (.png): reliability of probabilities and sigmas."
)
@json_option
def info(bundle: str, figure: Path | None, as_json: bool) -> None:
    """Print the metadata of BUNDLE; with --figure, draw how reliable its probabilities and sigmas are.

    The curves of training and calibration are summarized; --json prints them completely.
    """
    from lls_decode.model.info import bundle_digest, read_bundle_info
    from lls_decode.model.weights import check_weights
    from lls_decode.pictures.calibration_figure import calibration_figure, describe_calibration

    path = find_bundle(bundle)
    found = read_bundle_info(path)
    check_weights(path)
    if figure is not None:
        if found.scaling.calibration is None:
            raise BundleError(
                f"{bundle} has no calibration, so there is nothing to draw; add one with "
                f"'{shell_command('model', 'recalibrate', bundle, '--out', 'NEW.lls')}'."
            )
        calibration_figure(figure, found.scaling.calibration, title=found.name)
    record = {"path": str(path), "digest": bundle_digest(path), **found.to_dict()}
    if as_json:
        echo_json(record)
    else:
        record["training"] = {name: value for name, value in record["training"].items() if name != "curve"}
        if found.scaling.calibration is not None:  # hundreds of numbers, which --json prints
            record["scaling"]["calibration"] = describe_calibration(found.scaling.calibration)
        echo(yaml.safe_dump(record, sort_keys=False), nl=False)


@model.command(
    "import",
    short_help="Convert a model trained with DECODE.",
    epilog="Example: lls-decode model import model_0.pt --params param_run.yaml --out cell.lls",
)
@click.argument("weights", type=click.Path(path_type=Path))
@click.option(
    "--params", type=click.Path(path_type=Path), help="param_run.yaml of the model.  [default: the one beside WEIGHTS]"
)
@click.option("--out", required=True, type=OutputPath(), help="Model bundle to write (.lls).")
@click.option("--name", help="Name of the model.  [default: file name of the bundle]")
@click.option("--licence", default="unknown", show_default=True, help="Licence of the weights.")
def import_model(weights: Path, params: Path | None, out: Path, name: str | None, licence: str) -> None:
    """Convert a model trained with DECODE (Speiser et al. 2021) into a model bundle.

    Coordinates are converted to those of lls-decode (x along columns, no cropping). To obtain the same table as DECODE,
    run the bundle with --set detection.rule=authors.
    """
    from lls_decode.model.decode_import import import_decode

    info = import_decode(weights, params, out, name=name, licence=licence)
    echo(
        f"{out}: {info.network.filters} filters, context {info.network.context}, pixel {info.pixel_size.x_nm:g} x "
        f"{info.pixel_size.y_nm:g} nm (x, y), {info.describe_depth()}, {info.camera.kind} camera"
    )


@model.command(
    short_help="Choose thresholds and calibrate sigmas of a bundle.",
    epilog="Example: lls-decode model recalibrate old.lls --out new.lls",
)
@click.argument("bundle", type=MODEL)
@click.option("--out", required=True, type=OutputPath(), help="Model bundle to write (.lls).")
@device_option
@json_option
def recalibrate(bundle: str, out: Path, device: str, as_json: bool) -> None:
    """Choose detection thresholds and calibrate sigmas of BUNDLE on frames simulated as for its training.

    The new bundle has the same weights. Its thresholds maximize efficiency at a precision of at least 0.95. Its
    calibration makes predicted sigmas match actual errors at all densities and brightnesses, and makes probabilities
    match the fraction of correct detections. It also holds the correlation of errors in neighbouring frames.
    """
    from lls_decode.localize import describe_thresholds
    from lls_decode.localize import recalibrate as run_recalibration
    from lls_decode.pictures.calibration_figure import describe_calibration

    made = run_recalibration(find_bundle(bundle), out, device=chosen_device(device))
    factors = {name: getattr(made.scaling, name) for name in ("x_sig", "y_sig", "z_sig", "photons_sig")}
    if as_json:
        detection = None if made.detection is None else made.detection.to_dict()
        accuracy = made.accuracy.to_dict()
        known = made.scaling.calibration
        calibration = None if known is None else known.to_dict()
        echo_json(
            {
                "bundle": str(made.bundle),
                "factors": factors,
                "calibration": calibration,
                "detection": detection,
                "accuracy": accuracy,
            }
        )
        return
    echo(f"model      {made.bundle}")
    echo("factors    " + "  ".join(f"{name} {value:.3f}" for name, value in factors.items()))
    if made.scaling.calibration is not None:
        echo("\n".join(describe_calibration(made.scaling.calibration)))
    if made.detection is not None:
        echo("\n".join(describe_thresholds(made.detection)))
    echo_score(made.accuracy)


@model.command("list", epilog="Example: lls-decode model list")
def list_models() -> None:
    """List the bundles that ship with the package."""
    from lls_decode.model.info import read_bundle_info

    for name, path in shipped(".lls").items():
        record = read_bundle_info(path)
        echo(
            f"{name:<12} {record.network.filters} filters, context {record.network.context}, pixel "
            f"{record.pixel_size.x_nm:g} nm, {record.describe_depth()}"
        )
