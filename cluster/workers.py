"""Workers that a site has promised: wait for them, and compare their versions with those here."""

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
    """Wait for workers that should be there at once.

    Raises
    ------
    SiteError
        They are not.
    """
    try:
        client.wait_for_workers(workers, timeout=request.timeout_s)
    except TimeoutError as error:
        found = _count_workers(client, request.site)
        raise SiteError(
            f"Site {request.site} has {found} of {workers} workers after {request.timeout_s:g} s; {advice}, "
            "or look at the workers' logs."
        ) from error
    except _LOST as error:
        raise _lost(request.site) from error


def _count_workers(client: Client, site: str) -> int:
    try:
        return len(client.nthreads())
    except _LOST as error:
        raise _lost(site) from error


_LOST = (OSError, RuntimeError, KeyError, AttributeError)
"""What a client raises, depending on what it was about to do, when its scheduler dies."""


def _lost(site: str) -> SiteError:
    return SiteError(
        f"The scheduler of {site} was lost right after it had answered; give the same command again, or see its log."
    )


def check_versions(client: Client, site: str) -> None:
    """Refuse workers whose lls-decode is another one or none, and say where other versions differ.

    Raises
    ------
    SiteError
        A worker, or the scheduler, would not run the code that runs here.
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
            what = f"is {there[OURS]}, here it is {here[OURS]}," if OURS in there else "is not installed"
            raise SiteError(
                f"lls-decode {what} for {place} of {site}; start the scheduler and its workers in the environment that "
                "lls-decode runs in."
            )
        differ = differences(here, there)
        if differ:
            logger.warning("%s of %s has other versions: %s", place, site, ", ".join(differ.values()))


def _versions(said: Any) -> dict[str, str]:
    """One process's answer to `Client.get_versions` as `versions_here` would give it."""
    packages = {name.replace("_", "-"): found for name, found in said["packages"].items() if found is not None}
    return {**packages, PYTHON: str(dict(said["host"])["python"])}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Dask from logging that connections end while we end them."""
    logs = [logging.getLogger(name) for name in ("distributed", "distributed.client")]  # Dask gives each its own level
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
