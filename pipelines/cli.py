"""The command line: each command is a thin door to a Python function of the same effect.

The only module that sees both machines (`cluster`) and work (`pipelines`). Heavy modules are imported inside the
commands that need them, so that ``--help`` is quick.
"""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
import yaml
from click.core import ParameterSource

from lls_decode import __version__
from lls_decode.config import Config, MovieConfig, PixelSize, RunConfig, TrainingConfig, load, load_run_config, parse
from lls_decode.errors import (
    EXIT_BLOCKS_FAILED,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    EXIT_USAGE,
    ConfigError,
    InputError,
    LlsDecodeError,
)
from lls_decode.models import find_bundle, find_config, shipped

from .presets import PRESETS, Microscope, describe_preset, preset_config, preset_text

if TYPE_CHECKING:
    from distributed import Client

    from lls_decode.cluster.profile import SiteProfile, SlurmSite
    from lls_decode.cluster.slurm.unattended import Jobs

    from .events import Listener
    from .plan import Plan
    from .run import RunResult

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run ``lls-decode``; ends the process with the exit status of `lls_decode.errors`."""
    try:
        status = cli.main(args=arguments, prog_name="lls-decode", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except LlsDecodeError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_status)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


@click.group(context_settings=CONTEXT)
@click.version_option(__version__, prog_name="lls-decode")
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
def cli(verbose: bool) -> None:
    """Localize single molecules in lattice light-sheet volumes and other very large movies.

    zarr in, Parquet out. Begin with 'lls-decode demo', then 'lls-decode inspect DATASET'.
    """
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )


# --- options that several commands share ---------------------------------------------------------------------------

Command = Callable[..., Any]


def _site_options(command: Command) -> Command:
    for option in (
        click.option("--memory-limit", help="Memory of one worker, e.g. '8 GiB'.  [default: of the site]"),
        click.option("--workers", type=click.IntRange(1), help="Worker processes, or jobs.  [default: of the site]"),
        click.option(
            "--site",
            default="local",
            show_default=True,
            help="Machines: a name of 'lls-decode cluster list', a profile (.yaml), or tcp://HOST:PORT of a scheduler.",
        ),
    ):
        command = option(command)
    return command


_set_option = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one value of the configuration, e.g. --set detection.accept=0.8. Repeat for more.",
)
_device_option = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@contextmanager
def _client(
    site: "str | SiteProfile", workers: int | None, memory_limit: str | None, out: Path, *, driver: bool = False
) -> "Iterator[tuple[Client, Listener]]":
    """Open a site and show where its dashboard is, and the progress of what runs there."""
    from lls_decode.cluster.profile import SlurmSite
    from lls_decode.cluster.site import connect

    from .progress import show_progress

    logging.getLogger("distributed").setLevel(logging.getLogger().level + logging.INFO)  # its INFO is our DEBUG
    if driver:
        from lls_decode.cluster.slurm.driver import drive

        assert isinstance(site, SlurmSite)
        opened = drive(site, out, workers=workers)
    else:
        opened = connect(site, workers=workers, memory_limit=memory_limit, folder=out)
    with opened as client, show_progress() as listener:
        yield client, listener


C = TypeVar("C", bound=Config)
_CHOICES = ("kind", "rule")
"""Keys that say which of several kinds a part is; each kind has its own other keys."""


def _changed(config: C, changes: tuple[str, ...]) -> C:
    """A configuration with ``a.b=value`` changes, values as YAML.

    Another kind or rule comes first, whatever the order, and begins with its own defaults.
    """
    data = config.model_dump()
    for change in sorted(changes, key=lambda change: change.partition("=")[0].rpartition(".")[2] not in _CHOICES):
        key, separator, text = change.partition("=")
        if not separator:
            raise ConfigError(f"--set {change}: expected KEY=VALUE, e.g. --set execution.block_frames=256.")
        *parents, last = key.split(".")
        place = data
        for parent in parents:
            place = place.setdefault(parent, {}) if isinstance(place.get(parent), dict | None) else place[parent]
            if not isinstance(place, dict):
                raise ConfigError(f"--set {change}: {parent!r} has no parts; see 'lls-decode config show'.")
        value = yaml.safe_load(text)
        if last in _CHOICES and place.get(last) != value:
            place.clear()
        place[last] = value
    return parse(type(config), data, source="--set")


def _device(name: str) -> Any:
    """The torch device of ``--device``."""
    from lls_decode.config import ComputeConfig
    from lls_decode.localize.build import choose_device

    return choose_device(parse(ComputeConfig, {"device": name}, source="--device"))


def _echo_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, default=str))


@contextmanager
def _bar(label: str) -> "Iterator[Callable[[int, int], None]]":
    """A bar on a terminal, nothing elsewhere, for functions that report (done, in all)."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(label)
        yield lambda done, total: progress.update(task, completed=done, total=total)


# --- commands ------------------------------------------------------------------------------------------------------


@cli.command(epilog="Example: lls-decode run cell.zarr --model lls-paint --out results/ --workers 2")
@click.argument("dataset")
@click.option("--model", required=True, help="Model bundle (.lls), or the name of a shipped one.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Run folder; the same command goes on in it."
)
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Run configuration (YAML).")
@click.option("--array", help="Path of the array inside the store, when there are several.")
@click.option("--axes", help="Axes of the array when its metadata are absent or wrong, e.g. tzyx.")
@click.option("--channel", type=click.IntRange(0), help="Channel, when there are several.")
@click.option("--planes-per-volume", type=click.IntRange(1), help="For a flat stream of frames.")
@click.option("--block-frames", type=click.IntRange(1), help="Frames owned by one task.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the network runs.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), help="Arithmetic of the network.")
@_set_option
@_site_options
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option("--detach", is_flag=True, help="Submit the jobs of an unattended site, and do not follow them.")
@click.option("--force", is_flag=True, help="Discard another run that is in the folder.")
@click.option("--driver", is_flag=True, hidden=True, help="This is the driver job of an unattended site.")
@_json_option
def run(
    dataset: str,
    model: str,
    out: Path,
    config_path: Path | None,
    changes: tuple[str, ...],
    site: str,
    workers: int | None,
    memory_limit: str | None,
    dry_run: bool,
    detach: bool,
    force: bool,
    driver: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Localize DATASET (a zarr store, or a directory of per-volume arrays) into a Parquet table.

    Interrupted at any moment, the same command goes on where it was. With an unattended site (--site slurm) it submits
    jobs and follows them; they go on when it is interrupted, and the same command follows them again. Exit status: 0
    all done, 1 some blocks failed, 2 bad usage or configuration, 3 input unreadable, 130/143 interrupted and resumable.
    """
    from lls_decode.cluster.profile import SlurmSite
    from lls_decode.cluster.site import find_site, refuse_memory_limit

    from .folder import RunFolder
    from .plan import make_plan
    from .run import run as run_plan

    profile = find_site(site)
    config = load_run_config(config_path) if config_path else RunConfig()
    config = _changed(config, (*_run_changes(options), *changes))
    slurm = profile if isinstance(profile, SlurmSite) else None
    if slurm and config.compute.threads is None:
        config = config.replace(compute=config.compute.replace(threads=slurm.worker_threads))
    plan = make_plan(dataset, find_bundle(model), out, config)
    for line in plan.describe():
        click.echo(line, err=not dry_run)
    if dry_run:
        from .probe import probe

        try:
            click.echo(probe(plan).describe())
        except InputError as error:
            click.echo(f"estimate   none: {error}")
        return 0
    if slurm and slurm.mode == "unattended" and not driver:
        refuse_memory_limit(memory_limit)
        return _run_as_jobs(plan, config, slurm, workers=workers, force=force, detach=detach, as_json=as_json)
    if detach:
        raise ConfigError(
            f"--detach goes with an unattended site only, and {site} ends with this command; leave it out."
        )
    if driver:
        RunFolder(out).wait_until_free()
    patience = {"no_workers_s": slurm.wait_hours * 3600} if slurm else {}
    with _client(profile, workers, memory_limit, out, driver=driver) as (client, listener):
        result = run_plan(plan, client, listeners=[listener], force=force, **patience)
    _echo_result(result, len(plan.blocks), as_json=as_json)
    return result.exit_status


def _echo_result(result: "RunResult", num_blocks: int, *, as_json: bool) -> None:
    for failed in result.failed:
        click.echo(f"lost       {failed.block_id}: {failed.reason}", err=True)
    if as_json:
        _echo_json(
            {
                "table": str(result.merged) if result.merged else None,
                "rows": result.rows,
                "blocks_done": result.done,
                "blocks_failed": [failed.block_id for failed in result.failed],
                "exit_status": result.exit_status,
            }
        )
    elif result.merged:
        click.echo(f"{result.rows} localizations in {result.merged}")
    else:
        click.echo(f"not finished: {result.done} of {num_blocks} blocks are done; the same command goes on.", err=True)


def _run_as_jobs(
    plan: "Plan",
    config: RunConfig,
    site: "SlurmSite",
    *,
    workers: int | None,
    force: bool,
    detach: bool,
    as_json: bool,
) -> int:
    """Submit a run as jobs, unless they are in the queue already, and follow them."""
    from lls_decode.cluster.slurm.unattended import Jobs, submit_jobs

    from .folder import RunFolder
    from .follow import end_of_events, latest_start
    from .run import refuse_conflict

    plan.check_memory(site.worker_bytes)
    jobs = Jobs.of(plan.out)
    found = jobs.queued()
    if any(not job.in_array for job in found):
        since = latest_start(plan.out)
        click.echo(f"submitted  before: {', '.join(job.id for job in found)}", err=True)
    else:
        refuse_conflict(plan, force=force)
        RunFolder(plan.out).create()
        since = end_of_events(plan.out)

        def command(profile: Path) -> list[str]:
            run_config = profile.with_name("run.yaml")
            run_config.write_text(config.to_yaml())
            words = ["-m", "lls_decode.pipelines.cli", "run", plan.dataset, "--model", plan.bundle_path, "--driver"]
            words += ["--out", str(plan.out.resolve()), "--config", str(run_config), "--site", str(profile)]
            return [*words, *(["--workers", str(workers)] if workers else []), *(["--force"] if force else [])]

        driver, array = submit_jobs(site, plan.out, workers=workers, make_command=command)
        click.echo(f"submitted  driver job {driver}, {workers or site.workers_max} worker jobs {array}", err=True)
    for line in jobs.describe():
        click.echo(line, err=True)
    if detach:
        if as_json:
            _echo_json({"name": jobs.name, "jobs": [job.id for job in jobs.queued()]})
        return 0
    return _follow(plan, jobs, since=since, as_json=as_json)


def _follow(plan: "Plan", jobs: "Jobs", *, since: int, as_json: bool) -> int:
    """Show the progress of jobs until the run is over; Ctrl-C leaves them alone."""
    from lls_decode.cluster.slurm.unattended import Watch

    from .follow import follow
    from .progress import show_progress

    watch = Watch(jobs)

    def is_alive() -> bool:
        alive, lines = watch.look()
        for line in lines:
            logging.getLogger(__name__).info("%s", line)
        return alive

    try:
        with show_progress() as listener:
            result = follow(plan.out, since=since, is_alive=is_alive, listeners=[listener])
    except KeyboardInterrupt:
        click.echo("The jobs go on without this terminal; the same command follows them again.", err=True)
        for line in jobs.describe():
            click.echo(line, err=True)
        return EXIT_INTERRUPTED
    if result is not None and result.exit_status in (EXIT_DONE, EXIT_BLOCKS_FAILED):
        _echo_result(result, len(plan.blocks), as_json=as_json)
        return result.exit_status
    said = jobs.last_error()
    if said is None:
        click.echo("The driver job is gone before the run was over; the same command goes on.", err=True)
        click.echo(f"logs       {jobs.folder.logs}", err=True)
        return EXIT_TERMINATED
    click.echo(f"{said} (log: {jobs.latest_log()})", err=True)
    return result.exit_status if result is not None else EXIT_USAGE


def _run_changes(options: dict[str, Any]) -> list[str]:
    """The options of ``run`` as changes of its configuration."""
    places = {
        "array": "input.array",
        "axes": "input.axes",
        "channel": "input.channel",
        "planes_per_volume": "input.planes_per_volume",
        "block_frames": "execution.block_frames",
        "device": "compute.device",
        "dtype": "compute.dtype",
    }
    return [f"{places[name]}={json.dumps(value)}" for name, value in options.items() if value is not None]


@cli.command(epilog="Example: lls-decode demo --out demo_out")
@click.option("--out", default="demo_out", show_default=True, type=click.Path(path_type=Path))
@_site_options
@click.option("--force", is_flag=True, help="Discard an earlier demonstration of another version.")
def demo(out: Path, site: str, workers: int | None, memory_limit: str | None, force: bool) -> None:
    """Simulate a lattice light-sheet acquisition, localize it, score it against its truth, draw it."""
    from .demo import demo as run_demo
    from .demo import prepare_demo

    with _bar("simulating volumes") as progress:
        prepare_demo(out, progress=progress)
    with _client(site, workers, memory_limit, out) as (client, listener):
        result = run_demo(out, client, listeners=[listener], force=force)
    found = result.score
    click.echo(f"table      {result.table}  ({result.num_localizations} localizations)")
    click.echo(f"picture    {result.picture}")
    click.echo(f"scores     {result.scores}")
    _echo_score(found)


@cli.command(epilog="Example: lls-decode simulate --config demo-movie --out movie/ --set num_volumes=4")
@click.option(
    "--config", "config_path", required=True, help="Movie configuration (YAML), or a shipped one (demo-movie)."
)
@click.option("--out", required=True, type=click.Path(path_type=Path))
@_set_option
@click.option("--overwrite", is_flag=True, help="Replace a movie that is there.")
def simulate(config_path: str, out: Path, changes: tuple[str, ...], overwrite: bool) -> None:
    """Simulate an acquisition: OME-Zarr, truth as Parquet, camera maps and a ready run configuration."""
    from lls_decode.simulate import simulate_movie

    config = _changed(load(MovieConfig, find_config(config_path)), changes)
    with _bar("simulating frames") as progress:
        movie = simulate_movie(config, out, overwrite=overwrite, progress=progress)
    click.echo(
        f"frames     {movie.store}\ntruth      {movie.truth} ({movie.num_truth} rows)\nrun with   {movie.run_config}"
    )


@cli.command(epilog="Example: lls-decode train --config lls-paint --out work/lls-paint")
@click.option("--config", "config_path", required=True, help="Training configuration (YAML), or a shipped one.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Training folder; the same command goes on."
)
@_set_option
@click.option("--init-from", help="Fine-tune: model bundle (.lls), or a shipped one, whose weights to begin with.")
@click.option("--teacher", help="Distil: model bundle (.lls), or a shipped one, whose output maps are learned as well.")
@_device_option
@click.option("--stop-after", type=click.IntRange(1), help="Stop with a checkpoint after this many steps.")
def train(
    config_path: str,
    out: Path,
    changes: tuple[str, ...],
    init_from: str | None,
    teacher: str | None,
    device: str,
    stop_after: int | None,
) -> None:
    """Train a localization network on simulated frames into a model bundle (.lls)."""
    from lls_decode.localize import build_calibrator, build_validator
    from lls_decode.training import train as run_training

    config = _changed(load(TrainingConfig, find_config(config_path)), changes)
    chosen = _device(device)
    with _bar("training") as progress:
        result = run_training(
            config,
            out,
            validator=build_validator(config),
            calibrator=build_calibrator(config),
            init_from=None if init_from is None else find_bundle(init_from),
            teacher=None if teacher is None else find_bundle(teacher),
            device=chosen,
            progress=lambda step, steps, losses: progress(step, steps),
            stop_after=stop_after,
        )
    if result is None:
        click.echo(f"stopped with a checkpoint in {out}; the same command goes on.")
        return
    click.echo(f"model      {result.bundle}")
    for name in ("jaccard", "rmse_lateral_nm", "rmse_axial_nm", "efficiency"):
        click.echo(f"{name:<16} {result.accuracy[name]}")


@cli.command(
    epilog="Example: lls-decode calibrate beads.tif --z-step-nm 10 --pixel-nm 100 --out psf.npz --report psf.png"
)
@click.argument("beads", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="PSF: .npz, or _3dcal.mat for SMAP and DECODE."
)
@click.option("--pixel-nm", required=True, type=float, help="Pixel size along x.")
@click.option("--pixel-y-nm", type=float, help="Pixel size along y.  [default: as along x]")
@click.option(
    "--z-step-nm", type=float, help="z from slice to slice; negative when the beads' z falls.  [default: of the file]"
)
@click.option("--roi-px", type=click.IntRange(9), default=21, show_default=True, help="Side of the PSF.")
@click.option("--knots-nm", type=float, default=100.0, show_default=True, help="Knots along z; larger is smoother.")
@click.option("--focus-slice", type=float, help="Slice that is z = 0.  [default: the middle of the sharp ones]")
@click.option("--offset-adu", type=float, default=0.0, show_default=True, help="Camera offset, for the fits.")
@click.option("--gain-adu-per-e", type=float, default=1.0, show_default=True, help="Its gain (EMCCD: twice it).")
@click.option("--report", type=click.Path(path_type=Path), help="Picture of the PSF and its residuals (.png).")
@_json_option
def calibrate(
    beads: tuple[Path, ...],
    out: Path,
    pixel_nm: float,
    pixel_y_nm: float | None,
    report: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Make a PSF (cubic spline) from z-scans of beads, one or many a file.

    An averaged PSF (a volume by other software) is a scan of one bead.

    The sign of z cannot be seen in a scan: give a positive --z-step-nm when the bead's z, as molecules shall have it,
    rises from slice to slice (the focus moves towards the objective), else a negative one. To check, localize a
    structure or a bead that you moved by a known amount: z must rise with it; if it falls, change the sign.
    """
    from lls_decode.refine import calibrate as run_calibration
    from lls_decode.refine import write_report

    sizes = {"x_nm": pixel_nm, "y_nm": pixel_nm if pixel_y_nm is None else pixel_y_nm}
    found = run_calibration(beads, pixel=parse(PixelSize, sizes, source="--pixel-nm"), **options)
    found.write(out)
    if report is not None:
        write_report(report, found)
    summary = found.summary()
    if as_json:
        _echo_json({"psf": str(out), **summary})
        return
    for line in found.left_out:
        click.echo(f"left out   {line}", err=True)
    for line in found.notes:
        click.echo(f"note       {line}", err=True)
    click.echo(
        f"psf        {out}  ({summary['beads_used']} beads, z {summary['z_range_nm'][0]:g} to "
        f"{summary['z_range_nm'][1]:g} nm)"
    )
    click.echo(
        f"z          fitted minus stage within {summary['within_nm']:g} nm, in slices that were left out: "
        f"r.m.s. {summary['z_rms_nm']:g} nm, largest {summary['z_largest_nm']:g} nm"
    )


@cli.command(epilog="Example: lls-decode estimate cell.zarr --config run.yaml --base lls-paint --out prefit/")
@click.argument("dataset")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the three files.")
@click.option(
    "--base", required=True, help="Training configuration (YAML) to start from, or a shipped one (lls-paint, storm-2d)."
)
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="Run configuration: input, camera, pixel size."
)
@click.option("--psf", type=click.Path(path_type=Path), help="PSF of 'calibrate' or SMAP.  [default: that of --base]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the few random choices.")
@_set_option
@_json_option
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

    Fits emitters that stand alone in a few hundred frames from all over the dataset. Writes estimate.json (numbers),
    estimate.png (where they come from) and training.yaml, ready for 'lls-decode train'. --set changes the run
    configuration, e.g. --set camera.offset_adu=100.
    """
    from lls_decode.frames import open_source
    from lls_decode.refine import estimate as run_estimate
    from lls_decode.refine import write_estimate

    config = _changed(load_run_config(config_path) if config_path else RunConfig(), changes)
    with _bar("fitting emitters") as progress:
        found = run_estimate(
            open_source(dataset, config.input),
            load(TrainingConfig, find_config(base)),
            camera=config.camera,
            pixel_size=config.pixel_size,
            geometry=config.geometry,
            psf=psf,
            seed=seed,
            progress=progress,
        )
    write_estimate(found, out)
    if as_json:
        _echo_json(found.to_dict())
        return
    click.echo("\n".join(found.describe()))
    click.echo(f"picture    {out / 'estimate.png'}\ntrain with lls-decode train --config {out / 'training.yaml'}")


@cli.command(epilog="Example: lls-decode inspect cell.zarr")
@click.argument("path")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Run configuration, for its input part.")
@_set_option
@_json_option
def inspect(path: str, config_path: Path | None, changes: tuple[str, ...], as_json: bool) -> None:
    """Say what a dataset (zarr), or a localization table (.parquet), holds."""
    if path.endswith(".parquet"):
        from .inspection import inspect_table

        summary = inspect_table(path)
    else:
        from lls_decode.frames import inspect_source, open_source

        config = _changed(load_run_config(config_path) if config_path else RunConfig(), changes)
        summary = inspect_source(open_source(path, config.input))
    if as_json:
        _echo_json(summary)
        return
    for name, value in summary.items():
        if name == "notes":
            for note in value:
                click.echo(f"{'note':<22} {note}")
        elif value is not None:
            click.echo(f"{name:<22} {value}")


@cli.command(epilog="Example: lls-decode convert stack.tif cell.zarr --planes-per-volume 30 --pixel-nm 104")
@click.argument("movie", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--planes-per-volume", type=click.IntRange(1), help="Frames of a volume.  [default: what the file says]")
@click.option(
    "--pixel-nm", type=click.FloatRange(0, min_open=True), help="Pixel size, nm.  [default: what the file says]"
)
@click.option("--z-step-nm", type=click.FloatRange(0, min_open=True), help="Step between planes, nm.")
@click.option("--axes", help="Axes of each file when its metadata are wrong, e.g. zyx.")
@click.option("--overwrite", is_flag=True, help="Replace a store that is there.")
def convert(
    movie: Path,
    out: Path,
    planes_per_volume: int | None,
    pixel_nm: float | None,
    z_step_nm: float | None,
    axes: str | None,
    overwrite: bool,
) -> None:
    """Convert MOVIE (TIFF, directory or glob of TIFFs, .dax, Picasso .raw) to zarr of the recommended layout."""
    from lls_decode.frames import convert as convert_movie

    with _bar("converting frames") as progress:
        source = convert_movie(
            movie,
            out,
            planes_per_volume=planes_per_volume,
            pixel_size=None if pixel_nm is None else PixelSize(x_nm=pixel_nm, y_nm=pixel_nm),
            z_step_nm=z_step_nm,
            axes=axes,
            overwrite=overwrite,
            progress=progress,
        )
    size = source.layout
    click.echo(
        f"{out}: {size.num_volumes} volumes x {size.planes_per_volume} planes of {size.height} x {size.width} pixels"
    )


@cli.command(epilog="Example: lls-decode status results/")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--watch", is_flag=True, help="Again every 2 seconds until the run is over.")
@_json_option
def status(out: Path, watch: bool, as_json: bool) -> None:
    """Say how the run in OUT stands, from its files alone."""
    import time

    from .status import read_status

    while True:
        found = read_status(out)
        if as_json:
            _echo_json(found.to_dict())
        else:
            click.echo("\n".join(found.describe()))
        if not watch or found.owner is None:
            return
        time.sleep(2)


@cli.command(epilog="Example: lls-decode merge results/ --to /archive/cell.parquet")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path), help="The table.  [default: OUT/localizations.parquet]")
@click.option("--allow-missing", is_flag=True, help="Merge without the blocks that failed, and name them in the table.")
def merge(out: Path, to: Path | None, allow_missing: bool) -> None:
    """Merge the shards of the run in OUT into one table, every block exactly once."""
    from .merging import merge as merge_run

    manifest = merge_run(out, to=to, allow_missing=allow_missing)
    missing = f", without {len(manifest.missing_blocks)} blocks" if manifest.missing_blocks else ""
    click.echo(f"{manifest.rows} localizations in {to or out / 'localizations.parquet'}{missing}")


@cli.command(
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
@_set_option
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
@_json_option
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
    from .judging import judge, judge_alone

    pixel, report = _square(options.pop("pixel_nm")), options.pop("report")
    for name in ("z_range_nm", "field_nm"):
        options[name] = options[name] or None
    if truth is None:
        if report is not None or any(options[name] is not None for name in ("model", "psf", "bg")):
            raise ConfigError("--report, --model, --psf and --bg compare a table with a truth; give TRUTH after TABLE.")
        biases = judge_alone(table, pixel_size=pixel)
        if as_json:
            _echo_json({"subpixel": [bias.to_dict() for bias in biases]})
        else:
            _echo_subpixel(biases)
        return
    result = judge(table, truth, pixel_size=pixel, report=report, **options)
    if as_json:
        _echo_json(result.to_dict())
        return
    _echo_score(result.score)
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


@cli.command(epilog="Example: lls-decode frc results/localizations.parquet --out frc.png")
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
@_json_option
def frc(table: Path, out: Path | None, as_json: bool, **options: Any) -> None:
    """Resolution of TABLE by Fourier ring (or shell) correlation of even and odd blocks of frames, threshold 1/7."""
    from .judging import frc as correlate

    region = {axis: value for axis in "xyz" if (value := options.pop(f"{axis}_nm"))}
    curve = correlate(table, out=out, region_nm=region, **options)
    if as_json:
        _echo_json(curve.to_dict())
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
    from .spike_in import describe, spike_in

    model, out = options.pop("model"), options.pop("out")
    if model is None or out is None:
        raise click.UsageError("--spike-in needs --model BUNDLE and --out FOLDER.")
    config_path, changes = options.pop("config_path"), options.pop("changes")
    config = _changed(load_run_config(config_path) if config_path else RunConfig(), changes)
    options["density_per_um2"] = options.pop("density")
    options = {name: value for name, value in options.items() if value is not None}
    with _bar("spiking and localizing frames") as progress:
        result = spike_in(dataset, find_bundle(model), out, config, progress=progress, **options)
    for note in result.notes:
        click.echo(f"note       {note}", err=True)
    if as_json:
        _echo_json(result.report.to_dict())
        return
    for line in (*describe(result.report), f"written    {result.scores}, {result.table.name}, {result.picture.name}"):
        click.echo(line)


def _echo_score(score: Any) -> None:
    s = score.to_dict()
    click.echo(f"truth {s['num_truth']}, found {s['num_found']}, matched {s['true_positives']}")
    for label, names in (
        ("detection", ("jaccard", "precision", "recall")),
        ("precision, nm", ("rmse_lateral_nm", "rmse_x_nm", "rmse_y_nm", "rmse_axial_nm")),
        ("efficiency", ("efficiency", "efficiency_lateral", "efficiency_axial")),
        ("error / sigma", ("zscore_x", "zscore_y", "zscore_z", "zscore_photons")),
    ):
        values = "  ".join(f"{name} {s[name]:.3g}" for name in names if s[name] is not None)
        click.echo(f"{label:<14} {values}")


@cli.command(epilog="Example: lls-decode render results/localizations.parquet picture.png --pixel-nm 20")
@click.argument("table", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--pixel-nm", default=20.0, show_default=True, help="Size of a pixel of the picture.")
@click.option("--view", type=click.Choice(["xy", "xz", "yz"]), default="xy", show_default=True)
@click.option("--coords", type=click.Choice(["auto", "raw", "sample"]), default="auto", show_default=True)
@click.option("--blur-nm", type=float, help="The same sigma for all.  [default: each localization's own]")
@click.option("--prob-min", default=0.0, show_default=True, help="Smallest detection probability.")
@click.option("--sigma-max-nm", type=float, help="Largest lateral sigma.")
@click.option("--z-range-nm", nargs=2, type=float, help="Depths of the first and last colour.")
def render(table: Path, out: Path, **options: Any) -> None:
    """Draw TABLE as a picture coloured by depth (PNG)."""
    from lls_decode.export.render import render_png

    options["z_range_nm"] = options["z_range_nm"] or None
    picture = render_png(table, out, **options)
    click.echo(f"{out}: {picture.num_drawn} localizations drawn")


@cli.command(epilog="Example: lls-decode export results/localizations.parquet cell_sml.mat --coords sample")
@click.argument("table", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--format",
    type=click.Choice(["smap", "picasso", "decode", "smlm", "csv", "thunderstorm", "decode-csv"]),
    help="Which program's file.  [default: by the ending of OUT: _sml.mat .hdf5 .h5 .smlm .csv]",
)
@click.option(
    "--coords", type=click.Choice(["auto", "raw", "deskewed", "sample"]), default="auto", show_default=True,
    help="Frame of reference; auto: of the sample where the geometry is known.",
)  # fmt: skip
@click.option("--pixel-nm", type=click.FloatRange(0, min_open=True), help="Pixel size, nm.  [default: of the table]")
@click.option("--psf-sigma-nm", type=click.FloatRange(0, min_open=True), help="PSF width.  [default: of the model]")
@click.option("--force", is_flag=True, help="Write more than 50 million rows as text.")
def export(table: Path, out: Path, pixel_nm: float | None, **options: Any) -> None:
    """Write TABLE as the file of another program: SMAP, Picasso, DECODE, .smlm, ThunderSTORM, csv."""
    from lls_decode.export.exporting import export_table

    made = export_table(table, out, pixel_size=_square(pixel_nm), **options)
    click.echo(f"{made.path}: {made.rows} localizations, {made.format}, {made.coords} coordinates")


@cli.command("import", epilog="Example: lls-decode import old_locs.hdf5 old.parquet --pixel-nm 130")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--format",
    type=click.Choice(["smap", "picasso", "decode", "decode-csv", "smlm", "csv"]),
    help="Which program's file.  [default: recognized by its content]",
)
@click.option("--pixel-nm", type=click.FloatRange(0, min_open=True), help="Pixel size, nm.  [default: of the file]")
@click.option("--planes-per-volume", type=click.IntRange(1), help="Frames of a volume.  [default: of the file, else 1]")
def import_table(path: Path, out: Path, pixel_nm: float | None, **options: Any) -> None:
    """Read the table PATH of another program into ours (Parquet), so that old results can be compared.

    Reads SMAP _sml.mat and csv, ThunderSTORM, Picasso, DECODE, .smlm, SMAPpy and a few csv more.
    """
    from lls_decode.export.importing import import_table as read

    click.echo(f"{read(path, out, pixel_size=_square(pixel_nm), **options)} written")


def _square(pixel_nm: float | None) -> PixelSize | None:
    return None if pixel_nm is None else PixelSize(x_nm=pixel_nm, y_nm=pixel_nm)


@cli.group()
def model() -> None:
    """Model bundles: what they are, which ship with the package."""


@model.command(epilog="Example: lls-decode model info lls-paint")
@click.argument("bundle")
@_json_option
def info(bundle: str, as_json: bool) -> None:
    """Print what a bundle says of itself."""
    from lls_decode.model.info import bundle_digest, read_bundle_info

    path = find_bundle(bundle)
    record = {"path": str(path), "digest": bundle_digest(path), **read_bundle_info(path).to_dict()}
    if as_json:
        _echo_json(record)
    else:
        record["training"] = {name: value for name, value in record["training"].items() if name != "curve"}
        click.echo(yaml.safe_dump(record, sort_keys=False), nl=False)


@model.command("import", epilog="Example: lls-decode model import model_0.pt --params param_run.yaml --out cell.lls")
@click.argument("weights", type=click.Path(path_type=Path))
@click.option(
    "--params", type=click.Path(path_type=Path), help="Its param_run.yaml.  [default: the one beside the weights]"
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Model bundle (.lls).")
@click.option("--name", help="Name of the model.  [default: that of the bundle's file]")
@click.option("--licence", default="unknown", show_default=True, help="Licence of the weights.")
def import_model(weights: Path, params: Path | None, out: Path, name: str | None, licence: str) -> None:
    """Make a bundle of a model that DECODE (Speiser et al. 2021) has trained.

    Its coordinates become ours (x along columns, nothing cropped away). To get its table, run with
    --set detection.rule=authors.
    """
    from lls_decode.model.decode_import import import_decode

    info = import_decode(weights, params, out, name=name, licence=licence)
    low, high = info.z_range_nm
    click.echo(
        f"{out}: {info.network.filters} filters, context {info.network.context}, pixel {info.pixel_size.x_nm:g} x "
        f"{info.pixel_size.y_nm:g} nm (x, y), z {low:g} to {high:g} nm, {info.camera.kind} camera"
    )


@model.command(epilog="Example: lls-decode model recalibrate old.lls --out new.lls")
@click.argument("bundle")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Model bundle (.lls).")
@_device_option
@_json_option
def recalibrate(bundle: str, out: Path, device: str, as_json: bool) -> None:
    """Measure how far the sigmas of BUNDLE are from its errors, on frames simulated as for its training.

    The new bundle has the same weights, and factors by which predicted sigmas are multiplied.
    """
    from lls_decode.localize import recalibrate as run_recalibration

    made = run_recalibration(find_bundle(bundle), out, device=_device(device))
    factors = {name: getattr(made.scaling, name) for name in ("x_sig", "y_sig", "z_sig", "photons_sig")}
    if as_json:
        _echo_json({"bundle": str(made.bundle), "factors": factors, "accuracy": made.accuracy.to_dict()})
        return
    click.echo(f"model      {made.bundle}")
    click.echo("factors    " + "  ".join(f"{name} {value:.3f}" for name, value in factors.items()))
    _echo_score(made.accuracy)


@model.command("list", epilog="Example: lls-decode model list")
def list_models() -> None:
    """List the bundles that ship with the package."""
    from lls_decode.model.info import read_bundle_info

    for name, path in shipped(".lls").items():
        record = read_bundle_info(path)
        click.echo(
            f"{name:<12} {record.network.filters} filters, context {record.network.context}, pixel "
            f"{record.pixel_size.x_nm:g} nm, z {record.z_range_nm[0]:g} to {record.z_range_nm[1]:g} nm"
        )


@cli.group()
def config() -> None:
    """Configurations: show, make, check."""


@config.command(epilog="Example: lls-decode config show lls-paint > my-training.yaml")
@click.argument("name", default="run")
def show(name: str) -> None:
    """Print a shipped configuration, or the defaults of 'run'."""
    click.echo(RunConfig().to_yaml() if name == "run" else find_config(name).read_text(), nl=False)


@config.command("list", epilog="Example: lls-decode config list")
def list_configs() -> None:
    """List the configurations that ship with the package."""
    click.echo("run            defaults of 'lls-decode run'")
    for name, path in shipped(".yaml").items():
        click.echo(f"{name:<14} {path.read_text().splitlines()[0].lstrip('# ')}")
    click.echo("\npresets of 'lls-decode config init'")
    for name in PRESETS:
        click.echo(f"{name:<14} {describe_preset(name)}")


@config.command(
    epilog="Example: lls-decode config init astigmatism --out mine.yaml --psf psf.npz --run-config run.yaml"
)
@click.argument("preset", type=click.Choice(list(PRESETS)))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Training configuration (YAML).")
@click.option("--pixel-nm", type=click.FloatRange(0, min_open=True), help="Pixel size, nm.")
@click.option("--psf", type=click.Path(path_type=Path), help="PSF by 'lls-decode calibrate', or SMAP's _3dcal.mat.")
@click.option(
    "--run-config", type=click.Path(path_type=Path), help="Run configuration: its camera, pixel size and geometry."
)
@click.option("--gpu", is_flag=True, help="The published network size, and a training for a GPU.")
@_set_option
def init(
    preset: str,
    out: Path,
    pixel_nm: float | None,
    psf: Path | None,
    run_config: Path | None,
    gpu: bool,
    changes: tuple[str, ...],
) -> None:
    r"""Write a commented training configuration for your microscope.

    \b
    lls-paint    stage-scanned lattice light-sheet, context along the planes of a sweep
    astigmatism  classical 3-D movies, context in time
    2d           2-D movies, context in time
    """
    from lls_decode.table import written_aside

    if out.exists():
        raise ConfigError(f"{out} exists; give another --out, or delete it.")
    run = None if run_config is None else load_run_config(run_config)
    microscope = Microscope(pixel=_square(pixel_nm), psf=psf, run=run)
    made = _changed(preset_config(preset, name=out.stem, microscope=microscope, gpu=gpu), changes)
    with written_aside(out) as aside:
        aside.write_text(preset_text(made, preset=preset, path=out))
    click.echo(f"{out} written; change it, then: lls-decode train --config {out} --out work/{made.name}")


@config.command(epilog="Example: lls-decode config check my-run.yaml --kind run")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(["run", "training", "movie"]), default="run", show_default=True)
def check(path: Path, kind: str) -> None:
    """Say whether a configuration can be meant."""
    if kind == "run":
        load_run_config(path)
    else:
        kinds: dict[str, type[Config]] = {"training": TrainingConfig, "movie": MovieConfig}
        load(kinds[kind], path)
    click.echo(f"{path} is a valid {kind} configuration.")


@cli.group()
def cluster() -> None:
    """Machines: site profiles, and the job scripts that they make."""


@cluster.command("list", epilog="Example: lls-decode cluster list")
def list_sites() -> None:
    """List the site profiles that ship with the package."""
    from lls_decode.cluster.profile import shipped_profiles

    for name, path in shipped_profiles().items():
        click.echo(f"{name:<12} {path.read_text().splitlines()[0].lstrip('# ').partition('. ')[0]}")
    click.echo("PATH.yaml    a profile of your own ('lls-decode cluster show slurm --profile > PATH.yaml')")
    click.echo("tcp://...    a Dask scheduler that is running already")


@cluster.command("show", epilog="Example: lls-decode cluster show slurm-gpu")
@click.argument("site")
@click.option("--profile", "as_profile", is_flag=True, help="Print the profile, for a copy of your own.")
@click.option("--out", default="results", type=click.Path(path_type=Path), help="Run folder, for the paths in scripts.")
def show_site(site: str, as_profile: bool, out: Path) -> None:
    """Print the job scripts that SITE submits; for a site without jobs, its profile."""
    from lls_decode.cluster.profile import SlurmSite, find_profile, shipped_profiles

    profile = find_profile(site)
    if as_profile or not isinstance(profile, SlurmSite):
        click.echo(shipped_profiles().get(site, Path(site)).read_text(), nl=False)
        return
    from lls_decode.cluster.slurm.unattended import describe_scripts

    words = ["-m", "lls_decode.pipelines.cli", "run", "DATASET", "--model", "MODEL", "--out", str(out)]
    click.echo(describe_scripts(profile, out, words), nl=False)


@cli.command(epilog="Example: lls-decode doctor")
@_json_option
def doctor(as_json: bool) -> int:
    """Check this machine: packages, devices, codecs, disk, a worker process, the shipped models, SLURM."""
    from lls_decode.cluster.slurm.check import examine as examine_slurm

    from .doctor import Check, examine

    checks = examine()
    checks += [Check("slurm", state, words) for state, words in examine_slurm()]
    if as_json:
        _echo_json([check.to_dict() for check in checks])
    else:
        for item in checks:
            click.echo(f"{item.state:<5} {item.name:<12} {item.words}")
    return int(any(item.state == "wrong" for item in checks))


if __name__ == "__main__":  # the driver job: python -m lls_decode.pipelines.cli
    main()
