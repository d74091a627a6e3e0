"""Runs on unattended sites: submit the jobs of a run unless they are queued already, then follow its files."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from lls_decode.config import RunConfig
from lls_decode.errors import EXIT_BLOCKS_FAILED, EXIT_DONE, EXIT_INTERRUPTED, EXIT_TERMINATED, EXIT_USAGE
from lls_decode.pipelines.cli.options import echo, echo_json
from lls_decode.system import real_path

if TYPE_CHECKING:
    from lls_decode.cluster.jobs import RunJobs
    from lls_decode.cluster.profile import SiteProfile
    from lls_decode.pipelines.planning.plan import Plan
    from lls_decode.pipelines.running.run import RunResult

_MOST_SPANS = 10


def echo_result(result: "RunResult", num_blocks: int, *, as_json: bool) -> None:
    """Print how a run ended: failed blocks, lost frames, and the table or the number of missing blocks."""
    for failed in result.failed:
        echo(f"lost       {failed.block_id}: {failed.reason}", err=True)
    if result.lost:
        echo(
            f"lost       {result.num_lost} frames could not be read: {_words(result)} ('lls-decode status' shows why)",
            err=True,
        )
    if as_json:
        echo_json(
            {
                "table": str(result.merged) if result.merged else None,
                "rows": result.rows,
                "blocks_done": result.done,
                "blocks_failed": [failed.block_id for failed in result.failed],
                "blocks_left": list(result.left),
                "frames_lost": [list(span) for span in result.lost],
                "exit_status": result.exit_status,
            }
        )
    elif result.merged:
        echo(f"{result.rows} localizations in {result.merged}")
        if not result.rows:
            echo(
                "nothing found: check camera, pixel size and model, and draw some frames with 'lls-decode preview'",
                err=True,
            )
    elif result.left and result.exit_status in (EXIT_DONE, EXIT_BLOCKS_FAILED):
        names = ", ".join(result.left[:5]) + (", ..." if len(result.left) > 5 else "")
        echo(f"{result.done} blocks are done; not merged because {len(result.left)} are not ({names}).", err=True)
    else:
        done = f"{result.done} of {num_blocks} blocks are done"
        echo(f"not finished: {done}; rerun the same command to resume.", err=True)


def _words(result: "RunResult") -> str:
    """Return the numbers of the lost frames as text."""
    spans = [str(start) if stop - start == 1 else f"{start}-{stop - 1}" for start, stop in result.lost[:_MOST_SPANS]]
    return ", ".join(spans) + (", ..." if len(result.lost) > _MOST_SPANS else "")


def run_as_jobs(
    plan: "Plan",
    config: RunConfig,
    site: "SiteProfile",
    *,
    workers: int | None,
    only: str | None,
    report: bool,
    force: bool,
    detach: bool,
    as_json: bool,
) -> int:
    """Submit the jobs of a run, unless they are queued already, and follow them."""
    from lls_decode.pipelines.journal.folder import RunFolder
    from lls_decode.pipelines.running.ownership import refuse_conflict
    from lls_decode.pipelines.running.remote_run import end_of_events, latest_start

    if site.worker_bytes is not None:
        plan.check_memory(site.worker_bytes)
    jobs = site.jobs(plan.out)
    found = jobs.queued_ids()
    if found:
        since = latest_start(plan.out)
        echo(f"submitted  earlier: {', '.join(found)}", err=True)
    else:
        refuse_conflict(plan, force=force)
        RunFolder(plan.out).create()
        since = end_of_events(plan.out)

        def command(profile: Path) -> list[str]:
            run_config = profile.with_name("run.yaml")
            run_config.write_text(config.to_yaml(), encoding="utf-8")
            words = ["-m", "lls_decode.pipelines.cli", "run", plan.dataset, "--model", plan.bundle_path, "--driver"]
            words += ["--out", str(real_path(plan.out)), "--config", str(run_config), "--site", str(profile)]
            words += [*(["--workers", str(workers)] if workers else []), *(["--only", only] if only else [])]
            words += [] if report else ["--no-report"]
            return [*words, *(["--force"] if force else [])]

        echo(f"submitted  {jobs.submit(workers, command)}", err=True)
    for line in jobs.describe():
        echo(line, err=True)
    if detach:
        if as_json:
            echo_json({"name": jobs.name, "jobs": jobs.queued_ids()})
        return 0
    return _follow(plan, jobs, since=since, as_json=as_json)


def _follow(plan: "Plan", jobs: "RunJobs", *, since: int, as_json: bool) -> int:
    """Show the progress of a run until it is over; Ctrl-C leaves its jobs running."""
    from lls_decode.pipelines.running.remote_run import follow
    from lls_decode.pipelines.status.progress import show_progress

    look = jobs.watch()

    def is_alive() -> bool:
        alive, lines = look()
        for line in lines:
            logging.getLogger(__name__).info("%s", line)
        return alive

    try:
        with show_progress() as listener:
            result = follow(plan.out, since=since, is_alive=is_alive, listeners=[listener])
    except KeyboardInterrupt:
        echo("The jobs continue without this terminal; rerun the same command to follow them again.", err=True)
        for line in jobs.describe():
            echo(line, err=True)
        return EXIT_INTERRUPTED
    if result is not None and result.exit_status in (EXIT_DONE, EXIT_BLOCKS_FAILED):
        echo_result(result, len(plan.blocks), as_json=as_json)
        return result.exit_status
    said = jobs.last_error()
    if said is None:
        echo("The driver job ended before the run was finished; rerun the same command to resume.", err=True)
        echo(f"logs       {jobs.logs}", err=True)
        return EXIT_TERMINATED
    echo(f"{said} (log: {jobs.latest_log()})", err=True)
    return result.exit_status if result is not None else EXIT_USAGE
