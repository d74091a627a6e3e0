"""Wait for the workers of a site, and compare their package versions with those of the client."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client

from lls_decode.errors import SiteError

from .profile import Request
from .versions import OURS, PYTHON, SHARED, differences

logger = logging.getLogger(__name__)


def wait_for_workers(client: Client, workers: int, request: Request, *, advice: str) -> None:
    """Wait until the requested number of workers has connected.

    Raises
    ------
    SiteError
        Too few workers have connected within the time limit of the request, or the scheduler was lost.
    """
    try:
        client.wait_for_workers(workers, timeout=request.timeout_s)
    except TimeoutError as error:
        found = _count_workers(client, request.site)
        raise SiteError(
            f"Site {request.site} has {found} of {workers} workers after {request.timeout_s:g} s; {advice}, "
            "or check the workers' logs."
        ) from error
    except _LOST as error:
        raise _lost(request.site) from error


def _count_workers(client: Client, site: str) -> int:
    try:
        return len(client.nthreads())
    except _LOST as error:
        raise _lost(site) from error


_LOST = (OSError, RuntimeError, KeyError, AttributeError)
"""Exceptions that a client may raise when its scheduler dies; which one depends on what the client was doing."""


def _lost(site: str) -> SiteError:
    return SiteError(
        f"The scheduler of {site} was lost right after it had answered; rerun the same command, or check its log."
    )


def check_versions(client: Client, site: str) -> None:
    """Refuse workers that have a different lls-decode or none, and warn if other package versions differ.

    Raises
    ------
    SiteError
        A worker, or the scheduler, has a different version of lls-decode than the client, or none.
    """
    modules = [name.replace("-", "_") for name in SHARED]
    try:
        found: Any = client.get_versions(packages=modules)
        here = _versions(found["client"])
        elsewhere = {"the scheduler": found["scheduler"], **{f"worker {k}": v for k, v in found["workers"].items()}}
    except _LOST as error:
        raise _lost(site) from error
    for place, said in elsewhere.items():
        there = _versions(said)
        if there.get(OURS) != here[OURS]:
            what = f"is {there[OURS]} (here {here[OURS]})" if OURS in there else "is not installed"
            raise SiteError(
                f"lls-decode {what} for {place} of {site}; start the scheduler and its workers in the environment that "
                "this command runs in."
            )
        differ = differences(here, there)
        if differ:
            logger.warning("%s of %s has other versions: %s", place, site, ", ".join(differ.values()))


def _versions(said: Any) -> dict[str, str]:
    """Convert one process's answer to `Client.get_versions` to the form of `versions_here`."""
    packages = {name.replace("_", "-"): found for name, found in said["packages"].items() if found is not None}
    return {**packages, PYTHON: str(dict(said["host"])["python"])}


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Dask's messages about closing connections while the cluster is shut down."""
    logs = [logging.getLogger(name) for name in ("distributed", "distributed.client")]  # Dask gives each its own level
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
