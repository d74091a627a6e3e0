"""Command ``batch``: localize many datasets."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lls_decode.errors import EXIT_BLOCKS_FAILED, EXIT_DONE, ConfigError, InputError
from lls_decode.pipelines.cli.guarding import OutputFolder
from lls_decode.pipelines.cli.options import (
    echo,
    echo_json,
    json_option,
    open_site,
    progress_bar,
    read_changes,
    set_option,
    site_options,
)
from lls_decode.pipelines.cli.parameters import ANY_PATH, MODEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lls_decode.pipelines.batch.batch import BatchRow
    from lls_decode.pipelines.batch.datasets import BatchEntry


@click.command(
    short_help="Localize many datasets.",
    epilog="Example: lls-decode batch 'archive/**/*.zarr' --model lls-paint --out results/ --dry-run",
)
@click.argument("source", type=ANY_PATH)
@click.option(
    "--model",
    type=MODEL,
    help="Model bundle (.lls), or the name of a shipped one, for datasets without a model of their own.",
)
@click.option("--out", required=True, type=OutputFolder(), help="Folder for the run folders and batch.csv.")
@click.option(
    "--config", "config_path", type=ANY_PATH, help="Run configuration (YAML) for datasets without one of their own."
)
@set_option
@click.option("--only", "pattern", metavar="PATTERN", help="Process only datasets whose path matches, e.g. '*/day2/*'.")
@click.option("--share", metavar="I/N", help="Process only share I (from 1) of N of the datasets: for job arrays.")
@click.option("--limit", type=click.IntRange(1), help="Process at most this many datasets, not counting finished ones.")
@site_options
@click.option("--dry-run", is_flag=True, help="Print what would be done, then exit.")
@click.option("--force", is_flag=True, help="Discard other runs in the folders; accept impossible light levels.")
@json_option
def batch(
    source: str,
    model: str | None,
    out: Path,
    config_path: str | None,
    changes: tuple[str, ...],
    pattern: str | None,
    share: str | None,
    limit: int | None,
    site: str,
    workers: int | None,
    memory_limit: str | None,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Localize many datasets: SOURCE is a quoted pattern, a table (.csv), or a list with defaults (.yaml).

    Rerun the same command to resume: it skips datasets that are done with the same settings and retries failed ones. A
    dataset that cannot be read does not stop the others. OUT/batch.csv has one line per dataset and is updated after
    each dataset. A .csv may have the columns dataset, model, config, out and any key of the configuration, such as
    detection.accept. Exit status 1 if some datasets failed.
    """
    from lls_decode.cluster.site import find_site
    from lls_decode.model.info import read_bundle_info
    from lls_decode.model.weights import check_weights
    from lls_decode.models import find_bundle
    from lls_decode.pipelines.batch.batch import BatchResult, BatchTable, plan_batch
    from lls_decode.pipelines.batch.batch import batch as run_batch
    from lls_decode.pipelines.batch.datasets import BatchSettings, read_datasets
    from lls_decode.pipelines.journal.folder import RunFolder
    from lls_decode.pipelines.planning.block_selection import parse_share
    from lls_decode.pipelines.report.writing import report_if_possible
    from lls_decode.pipelines.running.submission import NO_WORKERS_S

    profile = find_site(site)
    if profile.is_unattended:
        raise ConfigError(
            f"{site} submits the jobs of one run; for a batch submit an array of your own, e.g. 'sbatch --array=1-8' "
            "of a script with 'lls-decode batch ... --share $SLURM_ARRAY_TASK_ID/8', or give an interactive site."
        )
    if model is not None:  # the model of most datasets: stop here if it is damaged
        path = find_bundle(model)
        read_bundle_info(path)
        check_weights(path)
    settings = BatchSettings(model=model, config=config_path, changes=read_changes(changes))
    datasets = read_datasets(source, out, settings=settings)
    own_share = None if share is None else parse_share(share)
    if own_share:
        datasets = tuple(own_share.take(datasets))
    chosen = [_for_site(item, profile.worker_threads) for item in datasets]
    chosen = [item for item in chosen if pattern is None or item.matches(pattern)]
    if pattern and not chosen:
        raise InputError(f"--only {pattern}: none of the {len(datasets)} datasets matches, e.g. {datasets[0].dataset}.")
    with progress_bar("planning datasets") as progress:
        rows = plan_batch(chosen, force=force, limit=limit, progress=progress)
    _echo_rows(chosen, rows, err=not dry_run or as_json)
    if dry_run:
        _echo_result(rows, as_json=as_json)
        return 0
    summary = BatchTable.of(out, datasets, own_share)
    summary.write(rows)
    result = BatchResult.of(rows)
    if any(row.to_do for row in rows):
        patience_s = profile.patience_s or NO_WORKERS_S
        with open_site(profile, workers, memory_limit, out) as client:
            result = run_batch(chosen, rows, client, summary.write, force=force, no_workers_s=patience_s)
    _echo_result(result.rows, as_json=as_json)
    echo(f"table      {summary.path}", err=True)
    if result.exit_status in (EXIT_DONE, EXIT_BLOCKS_FAILED):  # after an interruption, do not delay the exit by drawing
        for item in chosen:
            if RunFolder(item.out).table.exists():
                report_if_possible(item.out)
    return result.exit_status


def _for_site(item: "BatchEntry", threads: int | None) -> "BatchEntry":
    """Set the number of threads to that of the site's workers, unless the configuration sets it."""
    if threads is None or item.config.compute.threads is not None:
        return item
    return replace(item, config=item.config.replace(compute=item.config.compute.replace(threads=threads)))


def _echo_rows(datasets: "Sequence[BatchEntry]", rows: "Sequence[BatchRow]", *, err: bool) -> None:
    """Print what will be done for each dataset."""
    width = max((len(item.name) for item in datasets), default=0)
    for item, row in zip(datasets, rows, strict=True):
        blocks = "" if row.blocks is None else f"{row.blocks} blocks"
        echo(f"{row.status:<11}{item.name:<{width}}  {blocks:>12}  {row.reason}".rstrip(), err=err)


def _echo_result(rows: "Sequence[BatchRow]", *, as_json: bool) -> None:
    """Print how many datasets have each status; as JSON, print the status of each dataset."""
    if as_json:
        echo_json([row.to_dict() for row in rows])
        return
    counts = Counter(row.status for row in rows)
    echo(f"{len(rows)} datasets: " + ", ".join(f"{number} {status}" for status, number in counts.items()))
