"""Run on the machines of a site: the functions behind ``lls-decode run``, ``batch`` and ``demo``."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from distributed import Client

from lls_decode.cluster.profile import SiteProfile
from lls_decode.cluster.site import connect, find_site
from lls_decode.config import RunConfig
from lls_decode.errors import ConfigError
from lls_decode.models import RunConfigLike, as_run_config
from lls_decode.pipelines.batch.batch import BatchResult, BatchTable, plan_batch
from lls_decode.pipelines.batch.batch import batch as run_batch
from lls_decode.pipelines.batch.datasets import BatchSettings, read_datasets
from lls_decode.pipelines.flows.demo import DemoResult, prepare_demo
from lls_decode.pipelines.flows.demo import demo as run_demo
from lls_decode.pipelines.planning.plan import make_plan
from lls_decode.pipelines.report.writing import report_if_possible
from lls_decode.pipelines.running.interrupts import interruptible
from lls_decode.pipelines.running.run import RunResult
from lls_decode.pipelines.running.run import run as run_plan
from lls_decode.pipelines.running.submission import NO_WORKERS_S
from lls_decode.pipelines.status.progress import show_progress
from lls_decode.pipelines.watch.serving import attach

from .datasets import DatasetLike, as_dataset, is_in_memory


def run(
    dataset: DatasetLike,
    model: str | Path,
    out: str | Path,
    *,
    config: RunConfigLike = None,
    site: str = "local",
    workers: int | None = None,
    memory_limit: int | str | None = None,
    force: bool = False,
    report: bool = True,
) -> RunResult:
    """Localize a dataset into a run folder, like ``lls-decode run``. Repeating the call resumes the run.

    Parameters
    ----------
    dataset
        A path or address, or a dataset that `lls_decode.open` has opened from a path or address. Workers read the
        dataset there, and so does a resumed run.
    model
        Path of a bundle (``.lls``), or the name of a shipped one.
    out
        Run folder; the table is ``localizations.parquet`` in it.
    config
        A `RunConfig`, a dictionary (nested or with dotted keys), or the path of a YAML file; None: the defaults.
    site
        Machines to use: a name of ``lls-decode cluster list``, a profile (``.yaml``), or the address
        ``tcp://HOST:PORT`` of a scheduler.
    workers, memory_limit
        Number of worker processes, and the memory of each (bytes, or ``"8 GiB"``); None: the values of the site.
    force
        Discard another run that is in the folder.
    report
        Write ``report.html`` at the end, if matplotlib is installed.

    Returns
    -------
    RunResult
        ``merged`` is the path of the table. ``exit_status`` is 0, 1 if blocks failed (``failed`` lists them), or 130 or
        143 if a signal ended the run.

    Raises
    ------
    InputError
        The dataset cannot be interpreted as frames.
    ConfigError, BundleError, PlanError
        The dataset is an array in memory, the configuration has an unknown key, the model does not fit the data, or a
        block does not fit into the memory of a worker.
    RunConflictError
        The folder contains another run, or another program is using it.
    SiteError
        The machines are not available.
    """
    opened = as_dataset(dataset, config)
    if is_in_memory(opened):
        raise ConfigError(
            f"The dataset is a {opened.path} in the memory of this process, which workers cannot access; write it as "
            "zarr and give its path, or use localize or to_dask_dataframe."
        )
    profile = find_site(site)
    plan = make_plan(opened.path, model, out, _for_site(opened.config, profile), source=opened.source)
    plan.log_notes()
    with open_site(profile, plan.out, workers=workers, memory_limit=memory_limit) as client:
        attach(client, plan.out)
        with show_progress() as listener:
            patience_s = profile.patience_s or NO_WORKERS_S
            result = run_plan(plan, client, listeners=[listener], force=force, no_workers_s=patience_s)
    if report and result.merged is not None:
        report_if_possible(plan.out)
    return result


def demo(
    out: str | Path = "demo_out", *, site: str = "local", workers: int | None = None, force: bool = False
) -> DemoResult:
    """Simulate a lattice light-sheet acquisition, localize it, score it against its ground truth, and draw the result.

    Parameters
    ----------
    out
        Folder of the demonstration.
    site, workers
        As for `run`.
    force
        Discard an earlier demonstration of another version.
    """
    prepare_demo(out)
    with open_site(find_site(site), Path(out), workers=workers) as client, show_progress() as listener:
        return run_demo(out, client, listeners=[listener], force=force)


def batch(
    source: str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    config: RunConfigLike = None,
    site: str = "local",
    workers: int | None = None,
    memory_limit: int | str | None = None,
    force: bool = False,
) -> BatchResult:
    """Localize many datasets one after the other, and keep a table of their states (``batch.csv``).

    Datasets that were already localized with the same settings are skipped. A dataset that cannot be read does not stop
    the others.

    Parameters
    ----------
    source
        A pattern (``"archive/**/*.zarr"``, ``"s3://lab/archive/**/*.zarr"``), a table (``.csv``), or a list with
        defaults (``.yaml``).
    out
        Folder that contains the run folders.
    model, config
        Model and configuration of datasets that name none.
    site, workers, memory_limit, force
        As for `run`.

    Raises
    ------
    ConfigError, BundleError
        The list is invalid, or a configuration or a model cannot be read.
    InputError
        The pattern matches nothing.
    SiteError
        The machines are not available.
    """
    profile = find_site(site)
    settings = BatchSettings(
        model=None if model is None else str(model), config=None if config is None else as_run_config(config)
    )
    datasets = [
        replace(item, config=_for_site(item.config, profile))
        for item in read_datasets(source, Path(out), settings=settings)
    ]
    rows = plan_batch(datasets, force=force)
    summary = BatchTable.of(Path(out), datasets)
    summary.write(rows)
    if not any(row.to_do for row in rows):
        return BatchResult.of(rows)
    with open_site(profile, Path(out), workers=workers, memory_limit=memory_limit) as client:
        patience_s = profile.patience_s or NO_WORKERS_S
        return run_batch(datasets, rows, client, summary.write, force=force, no_workers_s=patience_s)


@contextmanager
def open_site(
    profile: SiteProfile, out: Path, *, workers: int | None, memory_limit: int | str | None = None
) -> Iterator[Client]:
    """Connect to the machines of a site; a signal shuts them down in an orderly way."""
    with interruptible(), connect(profile, workers=workers, memory_limit=memory_limit, folder=out) as client:
        yield client


def _for_site(config: RunConfig, profile: SiteProfile) -> RunConfig:
    """Return the configuration with the number of threads of the site's workers, if it does not set one itself."""
    if profile.worker_threads is None or config.compute.threads is not None:
        return config
    return config.replace(compute=config.compute.replace(threads=profile.worker_threads))
