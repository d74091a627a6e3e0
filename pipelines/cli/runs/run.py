"""Commands ``run``, ``demo`` and ``merge``."""

from pathlib import Path

import click

from lls_decode.axes import IndexRange
from lls_decode.config import PartConfig, change
from lls_decode.errors import ConfigError, InputError
from lls_decode.models import as_run_config, find_bundle
from lls_decode.pipelines.cli.guarding import OutputFolder, OutputPath
from lls_decode.pipelines.cli.inputs import InputOptions, input_options
from lls_decode.pipelines.cli.options import (
    changed,
    echo,
    echo_score,
    json_option,
    open_client,
    progress_bar,
    set_option,
    site_options,
)
from lls_decode.pipelines.cli.parameters import ANY_PATH, MODEL, DeviceType, IndexRangeType, RoiType

from .follow import find_acquisition, follow_options
from .jobs import echo_result, run_as_jobs
from .report import echo_report

NO_PICTURE = "none: matplotlib is missing; run: pip install 'lls-decode[report]', then rerun the same command"
"""Text that the demo prints in place of a picture when matplotlib is missing."""


@click.command(
    short_help="Localize DATASET into a Parquet table.",
    epilog="Example: lls-decode run cell.zarr --model lls-paint --out results/ --workers 2",
)
@click.argument("dataset", type=ANY_PATH)
@click.option("--model", type=MODEL, required=True, help="Model bundle (.lls), or the name of a shipped one.")
@click.option("--out", required=True, type=OutputFolder(), help="Run folder; rerun the same command to resume.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Run configuration (YAML).")
@input_options
@click.option("--block-frames", type=click.IntRange(1), help="Number of frames per task.")
@click.option("--device", type=DeviceType(), help="Device that the network runs on.")
@click.option(
    "--dtype", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), help="Number format of the network."
)
@click.option(
    "--volumes", type=IndexRangeType(from_end=True),
    help="Localize only these volumes, e.g. 3:7 for 3 to 6; negative numbers count from the end.",
)  # fmt: skip
@click.option("--roi", type=RoiType(), help="Localize only these pixels; positions still refer to the whole frame.")
@click.option("--only", metavar="BLOCKS", help="Recompute only these blocks, e.g. 3,7:10,b000012 for 3, 7, 8, 9, 12.")
@click.option("--share", metavar="I/N", help="Process only share I (from 1) of N of the blocks: for job arrays.")
@set_option
@site_options
@follow_options
@click.option(
    "--report/--no-report", default=True, help="Whether to draw OUT/report.html at the end.  [default: --report]"
)
@click.option("--dry-run", is_flag=True, help="Print the plan and a time estimate, then exit.")
@click.option("--detach", is_flag=True, help="Submit the jobs of an unattended site without following them.")
@click.option(
    "--force",
    is_flag=True,
    help="Discard another run in the folder, replace files that lls-decode did not write, and accept impossible light "
    "levels.",
)
@click.option("--driver", is_flag=True, hidden=True, help="Act as the driver job of an unattended site.")
@json_option
def run(
    dataset: str,
    model: str,
    out: Path,
    config_path: Path | None,
    inputs: InputOptions,
    block_frames: int | None,
    device: str | None,
    dtype: str | None,
    volumes: IndexRange | None,
    roi: dict[str, list[int]] | None,
    changes: tuple[str, ...],
    only: str | None,
    share: str | None,
    site: str,
    workers: int | None,
    memory_limit: str | None,
    follow: bool,
    until_file: Path | None,
    volumes_expected: int | None,
    idle_timeout: float | None,
    report: bool,
    dry_run: bool,
    detach: bool,
    force: bool,
    driver: bool,
    as_json: bool,
) -> int:
    """Localize DATASET (a zarr store, or a directory of per-volume arrays) into a Parquet table.

    Rerun the same command to resume an interrupted run. Jobs with --share 1/8 to 8/8 work in one folder at the same
    time, and the last one merges the table. With --follow, the command localizes an acquisition while it is being
    written; it ends after --volumes-expected volumes, when a file such as OUT/STOP exists, or when no new frames
    appear. With an unattended site (--site slurm), the command submits jobs and follows them; if it is interrupted, the
    jobs continue, and rerunning the command follows them again. Exit status: 0 all done, 1 some blocks failed, 2 bad
    usage or configuration, 3 input unreadable, 130/143 interrupted and resumable.
    """
    from lls_decode.cluster.site import find_site
    from lls_decode.pipelines.journal.folder import RunFolder
    from lls_decode.pipelines.planning.block_selection import parse_blocks, parse_share
    from lls_decode.pipelines.planning.plan import make_plan
    from lls_decode.pipelines.running.run import run as run_plan
    from lls_decode.pipelines.running.submission import NO_WORKERS_S

    profile = find_site(site)
    config = as_run_config(config_path)
    options = {
        "execution.block_frames": block_frames,
        "compute.device": device,
        "compute.dtype": dtype,
        "part.volumes": volumes,
        "part.roi": roi,
    }
    given = inputs.changes() | {key: value for key, value in options.items() if value is not None}
    config = changed(change(config, given, source="command line"), changes)
    if profile.worker_threads and config.compute.threads is None:
        config = config.replace(compute=config.compute.replace(threads=profile.worker_threads))
    bundle = find_bundle(model)
    acquisition = find_acquisition(
        dataset,
        bundle,
        out,
        config,
        follow=follow,
        until_file=until_file,
        volumes_expected=volumes_expected,
        idle_timeout=idle_timeout,
        force=force,
    )
    if acquisition and profile.is_unattended:
        raise ConfigError(f"--follow needs an interactive site, and {site} submits jobs; give another --site.")
    if acquisition and (only or share or config.part != PartConfig()):
        raise ConfigError("--follow localizes whole datasets; use --only, --share, --volumes and --roi afterwards.")
    plan = acquisition.wait() if acquisition and not dry_run else make_plan(dataset, bundle, out, config, force=force)
    for line in plan.describe():
        echo(line, err=not dry_run)
    chosen = None if only is None else parse_blocks(only, plan.blocks)
    own_share = None if share is None else parse_share(share)
    if dry_run:
        from lls_decode.pipelines.planning.speed_probe import measure_speed

        try:
            echo(measure_speed(plan).describe())
        except InputError as error:
            echo(f"estimate   none: {error}")
        return 0
    if profile.is_unattended and not driver:
        profile.refuse_memory_limit(memory_limit)
        if share:
            raise ConfigError(f"--share is for your own job arrays, and {site} submits jobs itself; omit one of them.")
        return run_as_jobs(
            plan, config, profile,
            workers=workers, only=only, report=report, force=force, detach=detach, as_json=as_json,
        )  # fmt: skip
    if detach:
        raise ConfigError(
            f"--detach needs an unattended site, and workers of {site} end with this command; omit --detach."
        )
    if driver:
        RunFolder(out).wait_until_free()
    with open_client(profile, workers, memory_limit, out, driver=driver) as (client, listener):
        result = run_plan(
            plan,
            client,
            listeners=[listener],
            force=force,
            no_workers_s=profile.patience_s or NO_WORKERS_S,
            only=chosen,
            share=own_share,
            acquisition=acquisition,
        )
    echo_result(result, len(plan.blocks), as_json=as_json)
    if report and result.merged is not None:
        echo_report(out)
    return result.exit_status


@click.command(
    short_help="Try the program on a small simulated acquisition.", epilog="Example: lls-decode demo --out demo_out"
)
@click.option("--out", default="demo_out", show_default=True, type=OutputFolder(), help="Folder to write to.")
@site_options
@click.option("--force", is_flag=True, help="Discard an earlier demo made by another version.")
def demo(out: Path, site: str, workers: int | None, memory_limit: str | None, force: bool) -> None:
    """Simulate a small lattice light-sheet acquisition, localize it, score the result and draw it."""
    from lls_decode.pipelines.flows.demo import demo as run_demo
    from lls_decode.pipelines.flows.demo import prepare_demo

    with progress_bar("simulating volumes") as progress:
        prepare_demo(out, progress=progress)
    with open_client(site, workers, memory_limit, out) as (client, listener):
        result = run_demo(out, client, listeners=[listener], force=force)
    if result.picture is not None:
        echo_report(result.table.parent)
    echo(f"table      {result.table}  ({result.num_localizations} localizations)")
    echo(f"picture    {result.picture or NO_PICTURE}")
    echo(f"scores     {result.scores}")
    echo_score(result.score)


@click.command(
    short_help="Merge the shards of a run into one table.",
    epilog="Example: lls-decode merge results/ --to /archive/cell.parquet",
)
@click.argument("out", type=OutputPath())
@click.option("--to", type=OutputPath(), help="Table to write.  [default: OUT/localizations.parquet]")
@click.option("--allow-missing", is_flag=True, help="Merge without the missing blocks; the table lists them.")
def merge(out: Path, to: Path | None, allow_missing: bool) -> None:
    """Merge the shards of the run in OUT into one table that holds every block exactly once."""
    from lls_decode.pipelines.running.merging import merge as merge_run

    manifest = merge_run(out, to=to, allow_missing=allow_missing)
    missing = f", without {len(manifest.missing_blocks)} blocks" if manifest.missing_blocks else ""
    echo(f"{manifest.rows} localizations in {to or out / 'localizations.parquet'}{missing}")
