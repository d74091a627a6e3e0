"""Commands that make models and their inputs: simulate, train, calibrate, estimate."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lls_decode.config import MovieConfig
from lls_decode.models import as_config, as_run_config

from .guarding import OutputFolder, OutputPath
from .options import camera_pixel, changed, device_option, echo, echo_json, json_option, progress_bar, set_option
from .parameters import ANY_PATH, MODEL, MOVIE_CONFIG, TRAINING_CONFIG

if TYPE_CHECKING:
    from lls_decode.refine.calibration import Calibration


@click.command(
    short_help="Simulate an acquisition with ground truth.",
    epilog="Example: lls-decode simulate --config demo-movie --out movie/ --set num_volumes=4",
)
@click.option(
    "--config",
    "config_path",
    type=MOVIE_CONFIG,
    required=True,
    help="Movie configuration (YAML), or the name of a shipped one (demo-movie).",
)
@click.option("--out", required=True, type=OutputFolder(), help="Folder to write the movie to.")
@set_option
@click.option("--overwrite", is_flag=True, help="Replace an existing movie.")
def simulate(config_path: str, out: Path, changes: tuple[str, ...], overwrite: bool) -> None:
    """Simulate an acquisition: OME-Zarr frames, ground truth as Parquet, camera maps and a run configuration."""
    from lls_decode.simulate import simulate_movie

    config = changed(as_config(MovieConfig, config_path), changes)
    with progress_bar("simulating frames") as progress:
        movie = simulate_movie(config, out, overwrite=overwrite, progress=progress)
    echo(f"frames     {movie.store}\ntruth      {movie.truth} ({movie.num_truth} rows)\nrun with   {movie.run_config}")


@click.command(
    short_help="Train a localization network on simulated frames.",
    epilog="Example: lls-decode train --init-from lls-paint --psf mine.npz --minutes 20 --out work/mine",
)
@click.option(
    "--config",
    "config_path",
    type=TRAINING_CONFIG,
    help="Training configuration (YAML), or the name of a shipped one.  [default: that of --init-from]",
)
@click.option("--out", required=True, type=OutputFolder(), help="Training folder; rerun the same command to resume.")
@set_option
@click.option("--init-from", type=MODEL, help="Fine-tune this model: a bundle (.lls), or the name of a shipped one.")
@click.option(
    "--psf", type=click.Path(path_type=Path), help="PSF from 'calibrate' or SMAP to use instead of the configured one."
)
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    help="Time limit of the training; the learning rate schedule ends with it.  [default: as configured]",
)
@click.option(
    "--teacher",
    type=MODEL,
    help="Distil: also learn the output maps of this model, a bundle (.lls) or the name of a shipped one.",
)
@device_option
@click.option("--stop-after", type=click.IntRange(1), help="Write a checkpoint and stop after this many steps.")
def train(
    config_path: str | None,
    out: Path,
    changes: tuple[str, ...],
    init_from: str | None,
    psf: Path | None,
    minutes: float | None,
    teacher: str | None,
    device: str,
    stop_after: int | None,
) -> None:
    """Train a localization network on simulated frames and write a model bundle (.lls).

    Progress is logged once a minute. To adapt a shipped model to your microscope, give --init-from and your PSF;
    training then starts from that model's weights. To train from scratch, give --config; 'lls-decode estimate' writes a
    configuration from your data.
    """
    from lls_decode.localize import describe_thresholds
    from lls_decode.pipelines.front.methods import train as run_training
    from lls_decode.pipelines.front.methods import training_config

    config = changed(training_config(config_path, init_from=init_from, psf=psf, minutes=minutes), changes)
    with progress_bar("training") as progress:
        result = run_training(
            config,
            out,
            init_from=init_from,
            teacher=teacher,
            device=device,
            stop_after=stop_after,
            progress=progress,
        )
    if result is None:
        echo(f"stopped with a checkpoint in {out}; rerun the same command to resume.")
        return
    echo(f"model      {result.bundle}")
    echo("accuracy on the validation frames:")
    for name in ("precision", "recall", "jaccard", "rmse_lateral_nm", "rmse_axial_nm", "efficiency"):
        if result.accuracy[name] is not None:
            echo(f"{name:<16} {result.accuracy[name]:.4g}")
    if result.detection is not None:
        echo("accuracy by threshold, on the simulated frames on which thresholds were chosen:")
        echo("\n".join(describe_thresholds(result.detection)))


@click.command(
    short_help="Make a PSF from z-scans of beads.",
    epilog="Example: lls-decode calibrate beads.tif --z-step-nm 10 --pixel-nm 100 --out psf.npz --report psf.png",
)
@click.argument("beads", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=OutputPath(), help="PSF file to write: .npz, or _3dcal.mat for SMAP and DECODE."
)
@click.option("--pixel-nm", required=True, type=float, help="Pixel size along x, nm.")
@click.option("--pixel-y-nm", type=float, help="Pixel size along y, nm.  [default: same as along x]")
@click.option(
    "--z-step-nm",
    type=float,
    help="Change of the beads' z from slice to slice, nm; negative if z decreases.  [default: from the file]",
)
@click.option("--roi-px", type=click.IntRange(9), default=21, show_default=True, help="Side length of the PSF, pixels.")
@click.option(
    "--knots-nm", type=float, default=100.0, show_default=True, help="Spacing of spline knots in z; larger is smoother."
)
@click.option("--focus-slice", type=float, help="Slice where z = 0.  [default: the middle of the sharp slices]")
@click.option(
    "--offset-adu", type=float, default=0.0, show_default=True, help="Camera offset, counts; used in the fits."
)
@click.option(
    "--gain-adu-per-e", type=float, default=1.0, show_default=True,
    help="Camera gain, counts per electron; for an EMCCD give twice the gain.",
)  # fmt: skip
@click.option(
    "--report", type=OutputPath(".png"), help="Picture to write (.png): the PSF, its residuals and its precision."
)
@click.option(
    "--photons",
    type=click.FloatRange(0, min_open=True),
    default=1000.0,
    show_default=True,
    help="Photons of one of your emitters in one frame, summed over the PSF; used for the precision bound.",
)
@click.option(
    "--background",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="Your background, photons per pixel; used for the precision bound.",
)
@json_option
def calibrate(
    beads: tuple[Path, ...],
    out: Path,
    pixel_nm: float,
    pixel_y_nm: float | None,
    z_step_nm: float | None,
    roi_px: int,
    knots_nm: float,
    focus_slice: float | None,
    offset_adu: float,
    gain_adu_per_e: float,
    report: Path | None,
    photons: float,
    background: float,
    as_json: bool,
) -> None:
    """Make a PSF (cubic spline) from z-scans of beads, with one or many beads per file.

    An averaged PSF (a volume from other software) counts as a scan of one bead.

    A scan does not show the sign of z. Give a positive --z-step-nm if the bead's z increases from slice to slice (the
    focus moves towards the objective), and a negative one otherwise. To check the sign, localize a bead or structure
    that you moved by a known amount: z must increase with the movement. If z decreases, change the sign.

    The PSF is scaled such that "photons" always means all photons of an emitter that the camera detects in one frame:
    summed over the pixels of the PSF in focus, after offset, gain and quantum efficiency, without background.
    """
    import numpy as np

    from lls_decode.refine.calibration import calibrate as run_calibration
    from lls_decode.refine.calibration import write_report

    found = run_calibration(
        beads,
        pixel=camera_pixel(pixel_nm, pixel_nm if pixel_y_nm is None else pixel_y_nm),
        z_step_nm=z_step_nm,
        roi_px=roi_px,
        knots_nm=knots_nm,
        focus_slice=focus_slice,
        offset_adu=offset_adu,
        gain_adu_per_e=gain_adu_per_e,
    )
    found.write(out)
    if report is not None:
        write_report(report, found, photons=photons, background=background)
    bound_nm = found.bound_nm(photons, background, np.zeros(1))[:, 0]
    summary = found.summary() | {
        "photons": photons,
        "background": background,
        **{f"bound_{axis}_nm": round(float(value), 2) for axis, value in zip("xyz", bound_nm, strict=True)},
    }
    if as_json:
        echo_json({"psf": str(out), **summary})
        return
    _echo_calibration(out, found, summary)


def _echo_calibration(out: Path, found: "Calibration", summary: dict[str, Any]) -> None:
    """Print which beads a PSF was made from and how accurate it is."""
    for line in found.left_out:
        echo(f"left out   {line}", err=True)
    for line in found.notes:
        echo(f"note       {line}", err=True)
    beads, (low, high) = summary["beads_used"], summary["z_range_nm"]
    echo(f"psf        {out}  ({beads} bead{'s' * (beads != 1)}, z {low:g} to {high:g} nm)")
    echo(
        f"z          fitted minus stage z within {summary['within_nm']:g} nm, in held-out slices: "
        f"r.m.s. {summary['z_rms_nm']:g} nm, largest {summary['z_largest_nm']:g} nm"
    )
    why = "as given" if found.focus_given else "the middle of the sharp slices; change it with --focus-slice"
    echo(
        f"focus      z = 0 is slice {summary['focus_slice']:g} of 0 to {summary['num_slices'] - 1}, "
        f"{summary['focus_from_middle_nm']:+g} nm from the middle of the scan ({why})"
    )
    echo(
        f"bound      x {summary['bound_x_nm']:g}, y {summary['bound_y_nm']:g}, z {summary['bound_z_nm']:g} nm in focus "
        f"for {summary['photons']:g} photons per emitter and frame and a background of {summary['background']:g} "
        "per pixel (--photons, --background)"
    )


@click.command(
    short_help="Estimate photons, background and density for training.",
    epilog="Example: lls-decode estimate cell.zarr --config run.yaml --base lls-paint --out prefit/",
)
@click.argument("dataset", type=ANY_PATH)
@click.option("--out", required=True, type=OutputFolder(), help="Folder to write the three files to.")
@click.option(
    "--base",
    type=TRAINING_CONFIG,
    required=True,
    help="Training configuration to start from: a YAML file, or the name of a shipped one (lls-paint, storm-2d).",
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="Run configuration (YAML) with input, camera and pixel size.",
)
@click.option("--psf", type=click.Path(path_type=Path), help="PSF from 'calibrate' or SMAP.  [default: that of --base]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the random choices.")
@set_option
@json_option
def estimate(
    dataset: str,
    out: Path,
    base: str,
    config_path: Path | None,
    psf: Path | None,
    seed: int,
    changes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Estimate photons, background, on-time and density of DATASET for training.

    Fits isolated emitters in a few hundred frames spread over the dataset. Writes estimate.json (the estimates),
    estimate.png (how they were obtained) and training.yaml, ready for 'lls-decode train'. --set changes the run
    configuration, e.g. --set camera.offset_adu=100.
    """
    from lls_decode.pipelines.front.methods import estimate as run_estimate

    config = changed(as_run_config(config_path), changes)
    with progress_bar("fitting emitters") as progress:
        found = run_estimate(dataset, base, out, config=config, psf=psf, seed=seed, progress=progress)
    if as_json:
        echo_json(found.to_dict())
        return
    echo("\n".join(found.describe()))
    echo(f"picture    {out / 'estimate.png'}\ntrain with {found.train_command(out / 'training.yaml')}")
