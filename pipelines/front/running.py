"""Runs on machines: what ``lls-decode run`` and ``demo`` do, with the site that is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed import Client

from lls_decode.cluster.site import connect
from lls_decode.errors import ConfigError
from lls_decode.models import RunConfigLike
from lls_decode.pipelines.flows.demo import DemoResult, prepare_demo
from lls_decode.pipelines.flows.demo import demo as run_demo
from lls_decode.pipelines.planning.plan import make_plan
from lls_decode.pipelines.report.writing import report_if_possible
from lls_decode.pipelines.running.interrupts import interruptible
from lls_decode.pipelines.running.run import RunResult
from lls_decode.pipelines.running.run import run as run_plan
from lls_decode.pipelines.status.progress import show_progress

from .datasets import DatasetLike, as_dataset, is_array


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
    """Localize a dataset into a run folder: the run of the command line. The same call resumes it.

    Parameters
    ----------
    dataset
        A path, or a dataset that `lls_decode.open` has opened by its path: workers, and a later start, read it there.
    model
        Path of a bundle (``.lls``), or the name of a shipped one.
    out
        Run folder; the table is ``localizations.parquet`` in it.
    config
        A `RunConfig`, a dictionary (nested or with dotted keys), or the path of a YAML file; None: the defaults.
    site
        Machines: a name of ``lls-decode cluster list``, a profile (``.yaml``), or ``tcp://HOST:PORT`` of a scheduler.
    workers, memory_limit
        Worker processes, and the memory of one (bytes, or ``"8 GiB"``); None: as the site says.
    force
        Discard another run that is in the folder.
    report
        Draw ``report.html`` at the end, where matplotlib is installed.

    Returns
    -------
    RunResult
        ``merged`` is the path of the table. ``exit_status`` is 0, or 1 when blocks failed (they are named), or 130 or
        143 when a signal ended the run.

    Raises
    ------
    InputError
        The dataset cannot be understood, or is an array in memory.
    ConfigError, BundleError, PlanError
        A key is unknown, the model does not fit the data, or a block does not fit into the workers' memory.
    RunConflictError
        The folder holds another run, or another program works in it.
    SiteError
        The machines cannot be had.
    """
    opened = as_dataset(dataset, config)
    if is_array(opened):
        raise ConfigError(
            f"The dataset is a {opened.path} in the memory of this process, where workers do not find it; write it as "
            "zarr and give its path, or use localize or to_dask_dataframe."
        )
    plan = make_plan(opened.path, model, out, opened.config)
    with _open_site(site, plan.out, workers=workers, memory_limit=memory_limit) as client, show_progress() as listener:
        result = run_plan(plan, client, listeners=[listener], force=force)
    if report and result.merged is not None:
        report_if_possible(plan.out)
    return result


def demo(
    out: str | Path = "demo_out", *, site: str = "local", workers: int | None = None, force: bool = False
) -> DemoResult:
    """Simulate a lattice light-sheet acquisition, localize it, score it against its truth, draw it.

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
    with _open_site(site, Path(out), workers=workers) as client, show_progress() as listener:
        return run_demo(out, client, listeners=[listener], force=force)


@contextmanager
def _open_site(
    site: str, out: Path, *, workers: int | None, memory_limit: int | str | None = None
) -> Iterator[Client]:
    """Open machines, with the page of the run in their dashboard. Signals close them in order."""
    from lls_decode.pipelines.watch.serving import attach  # Bokeh

    with interruptible(), connect(site, workers=workers, memory_limit=memory_limit, folder=out) as client:
        attach(client, out)
        yield client
