"""Command ``spike-in``: measure a model's accuracy on real frames without ground truth."""

from pathlib import Path

import click

from lls_decode.config import RunConfig, load_run_config
from lls_decode.models import find_bundle

from .guarding import OutputFolder
from .options import changed, echo, echo_json, json_option, match_options, progress_bar, set_option
from .parameters import ANY_PATH, MODEL


@click.command(
    "spike-in",
    short_help="Measure accuracy on real frames without truth.",
    epilog="Example: lls-decode spike-in cell.zarr --model lls-paint --out accuracy/ --config run.yaml",
)
@click.argument("dataset", type=ANY_PATH)
@click.option(
    "--model", type=MODEL, required=True, help="Model to measure: a bundle (.lls), or the name of a shipped one."
)
@click.option("--out", required=True, type=OutputFolder(), help="Folder to write spike_in.json, .parquet and .png to.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Run configuration (YAML).")
@set_option
@click.option("--psf", type=click.Path(path_type=Path), help="PSF from 'calibrate' to use instead of the model's.")
@click.option(
    "--photons", type=click.FloatRange(0, min_open=True),
    help="Mean photons of an added emitter per frame at full excitation.  [default: as in the model's training]",
)  # fmt: skip
@click.option(
    "--density", type=click.FloatRange(0, min_open=True), default=0.02, show_default=True,
    help="Number of added emitters per square micrometre and frame.",
)  # fmt: skip
@click.option(
    "--frames",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    help="Number of frames to sample from the dataset.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of the added emitters and of the choice of frames.",
)
@match_options
@json_option
def spike_in(
    dataset: str,
    model: str,
    out: Path,
    config_path: Path | None,
    changes: tuple[str, ...],
    psf: Path | None,
    photons: float | None,
    density: float,
    frames: int,
    seed: int,
    lateral_nm: float,
    axial_nm: float,
    as_json: bool,
) -> None:
    """Measure the accuracy of a model on DATASET without ground truth.

    Adds simulated emitters at known positions to a sample of the frames, as the camera would have recorded them.
    Localizes these frames and reports recall, errors and sigmas on the real background.
    """
    from lls_decode.pipelines.flows.spike_in import describe
    from lls_decode.pipelines.flows.spike_in import spike_in as run_spike_in

    config = changed(load_run_config(config_path) if config_path else RunConfig(), changes)
    with progress_bar("spiking and localizing frames") as progress:
        result = run_spike_in(
            dataset,
            find_bundle(model),
            out,
            config,
            psf=psf,
            photons=photons,
            density_per_um2=density,
            frames=frames,
            seed=seed,
            lateral_nm=lateral_nm,
            axial_nm=axial_nm,
            progress=progress,
        )
    for note in result.notes:
        echo(f"note       {note}", err=True)
    if as_json:
        echo_json(result.report.to_dict())
        return
    for line in (*describe(result.report), f"written    {result.scores}, {result.table.name}, {result.picture.name}"):
        echo(line)
