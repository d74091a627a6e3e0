"""Sites: machines that runs can use. `connect` gives a ``distributed.Client`` for any kind of site.

The code that runs blocks takes the client and does not know the site. To add a kind of site, write a subclass of
`SiteProfile` and add one line to `KINDS`.
"""

import difflib
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from lls_decode.config.base import parse, read_mapping
from lls_decode.errors import ConfigError, SiteError
from lls_decode.system import real_path

from .machine.cuda import CudaSite
from .machine.local import LocalSite
from .profile import Request, SiteProfile
from .running import RunningScheduler
from .settings import DASHBOARD, DASK_SETTINGS
from .slurm.site import SlurmSite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from distributed import Client

KINDS: dict[str, type[SiteProfile]] = {
    "local": LocalSite,
    "cuda": CudaSite,
    "slurm": SlurmSite,
    "scheduler": RunningScheduler,
}


@contextmanager
def connect(
    site: str | SiteProfile,
    *,
    workers: int | None = None,
    memory_limit: int | str | None = None,
    dashboard_address: str = DASHBOARD,
    timeout_s: float = 60.0,
    folder: Path | None = None,
) -> "Iterator[Client]":
    """Open a site and yield a client; on exit, close only what this call opened.

    Parameters
    ----------
    site
        A profile, its name (``local``, ``cuda``, ``slurm``, ``slurm-gpu``) or path (.yaml), or the address of a running
        scheduler (``tcp://HOST:PORT``, ``tls://HOST:PORT``). SLURM jobs always end with the client, as in interactive
        mode, even if the profile says unattended.
    workers
        Number of worker processes; None: as in the profile. A running scheduler must have this many workers (None: one)
        within ``timeout_s``.
    memory_limit
        Memory of one worker, in bytes or as ``"4 GiB"``; None: as in the profile.
    dashboard_address
        Address of Dask's dashboard; if the port is in use, another free port is used. Ignored for a running scheduler.
    timeout_s
        Time to wait for a scheduler and its workers, in seconds.
    folder
        Folder for the logs and scripts of jobs; None: the current folder.

    Raises
    ------
    SiteError
        The site is unknown, unreachable, or provides no workers.
    ConfigError
        The profile is invalid.
    """
    if workers is not None and workers < 1:
        raise SiteError(f"--workers is {workers}, expected at least 1.")
    import dask
    import distributed  # noqa: F401 (load its defaults first: leaving config.set would remove defaults loaded inside it)

    profile = as_profile(site)
    name = site if isinstance(site, str) else site.name
    request = Request(name, workers, memory_limit, dashboard_address, timeout_s, real_path(folder or Path()))
    profile.refuse_memory_limit(memory_limit)
    with dask.config.set(DASK_SETTINGS), profile.open(request) as client:
        yield client


def drive(site: str | SiteProfile, out: Path, *, workers: int | None = None) -> "AbstractContextManager[Client]":
    """Act as the driver job of the unattended run in ``out``, and yield its client.

    Raises
    ------
    SiteError
        The site has no driver jobs, or no worker has connected in time.
    """
    return as_profile(site).drive(out, workers=workers)


def as_profile(site: str | SiteProfile) -> SiteProfile:
    """Return the profile of a site that is given as a profile or by name."""
    return find_site(site) if isinstance(site, str) else site


def shipped_profiles() -> dict[str, Path]:
    """Return the profiles that ship with the package, by name."""
    folder = Path(str(resources.files("lls_decode.cluster"))) / "sites"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_profile(path: str | Path) -> SiteProfile:
    """Read a site profile.

    Raises
    ------
    ConfigError
        The file is missing, is not a YAML mapping, or has unknown keys or invalid values.
    """
    data = read_mapping(path)
    kind = data.get("kind")
    if kind not in KINDS:
        raise ConfigError(f"{path}: kind is {kind!r}, expected one of {', '.join(KINDS)}.")
    return parse(KINDS[kind], data, source=str(path))


def find_site(name: str) -> SiteProfile:
    """Find a profile by name, by the path of a YAML file, or by the address of a scheduler.

    Raises
    ------
    SiteError
        The site is unknown.
    ConfigError
        The file is not a valid profile.
    """
    if name.startswith(("tcp://", "tls://")):
        return RunningScheduler(address=name)
    known = shipped_profiles()
    if name in known:
        return load_profile(known[name])
    if name.endswith((".yaml", ".yml")):
        return load_profile(name)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    if ":" in name and "://" not in name:
        hint = f" (for a running scheduler, tcp://{name})"
    raise SiteError(
        f"Unknown site {name!r}{hint}; expected {', '.join(known)}, the path of a profile (.yaml), tcp://HOST:PORT "
        "or tls://HOST:PORT."
    )
