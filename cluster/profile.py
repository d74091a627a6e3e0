"""Site profiles: what one may say about machines, typed and frozen, as YAML. Some ship with the package, by name."""

import difflib
import re
from importlib import resources
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from lls_decode.config.base import Config, parse, read_mapping
from lls_decode.errors import ConfigError, SiteError

GIB = 2**30


class LocalSite(Config):
    """Worker processes on this machine."""

    kind: Literal["local"] = "local"
    workers: int | None = Field(default=None, ge=1)
    """Worker processes; None: a quarter of the cores."""
    memory_gib: float | None = Field(default=None, gt=0)
    """Memory of one worker; None: an equal share of the machine."""


class CudaSite(Config):
    """One worker process for each GPU of this machine."""

    kind: Literal["cuda"] = "cuda"
    workers: int | None = Field(default=None, ge=1)
    """GPUs to use; None: all that are visible."""
    memory_gib: float | None = Field(default=None, gt=0)
    """Memory (of the host) of one worker; None: an equal share of the machine."""


class SlurmJob(Config):
    """What one job asks of SLURM."""

    partition: str | None = None
    """None: the default partition."""
    account: str | None = None
    qos: str | None = None
    cpus: int = Field(default=1, ge=1)
    memory_gib: float = Field(default=4.0, gt=0)
    hours: float = Field(default=8.0, gt=0)
    """Wall time."""
    gres: str | None = Field(default=None, pattern=r"^\w+(:[\w.-]+)*$")
    """Devices, e.g. ``gpu:1`` or ``gpu:a100:2``; one worker process for each GPU."""
    extra: tuple[str, ...] = ()
    """Further job lines, e.g. ``--constraint=a100``."""

    @field_validator("partition", "account", "qos")
    @classmethod
    def _one_word(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[\w.,@+-]+", value):
            raise ValueError("expected one name without blanks")
        return value

    @field_validator("extra")
    @classmethod
    def _job_lines(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        for line in lines:
            if not line.startswith("-") or "\n" in line:
                raise ValueError(f"{line!r} is no job line; expected one option a line, e.g. --constraint=a100")
            option = re.split(r"[=\s]", line, maxsplit=1)[0]
            if option in _OURS:
                raise ValueError(f"{option} cannot be given as an extra job line; {_OURS[option]}")
        return lines

    @property
    def memory_bytes(self) -> int:
        """Memory of the job."""
        return int(self.memory_gib * GIB)

    @property
    def gpus(self) -> int:
        """GPUs of the job, as far as ``gres`` says."""
        name, *rest = (self.gres or "none").split(":")
        return 0 if name != "gpu" else int(rest[-1]) if rest and rest[-1].isdigit() else 1


_OURS = {
    **dict.fromkeys(("-p", "--partition"), "use the key partition"),
    **dict.fromkeys(("-A", "--account"), "use the key account"),
    **dict.fromkeys(("-q", "--qos"), "use the key qos"),
    **dict.fromkeys(("-c", "--cpus-per-task"), "use the key cpus"),
    **dict.fromkeys(("--mem", "--mem-per-cpu", "--mem-per-gpu"), "use the key memory_gib"),
    **dict.fromkeys(("-t", "--time"), "use the key hours"),
    "--gres": "use the key gres",
    **dict.fromkeys(("-a", "--array"), "use the keys workers_min and workers_max"),
    **dict.fromkeys(("-n", "--ntasks", "-N", "--nodes"), "a job is one task on one node"),
    **dict.fromkeys(
        ("-J", "--job-name", "-o", "--output", "-e", "--error", "--open-mode", "--requeue", "--no-requeue", "--signal",
         "-d", "--dependency", "-W", "--wait"),
        "it is set by lls-decode, which relies on it",
    ),
}  # fmt: skip
"""Options that the profile has a key for, or that must stay as they are."""


class SlurmSite(Config):
    """Workers that are jobs of SLURM."""

    kind: Literal["slurm"] = "slurm"
    mode: Literal["unattended", "interactive"] = "unattended"
    """``unattended``: 'run' itself becomes a small job that needs no terminal, with workers as a job array.
    ``interactive``: this process is the client, and the workers end with it (notebooks, small runs)."""
    workers_min: int = Field(default=1, ge=1)
    """The run begins with so many."""
    workers_max: int = Field(default=4, ge=1)
    """Worker jobs that are asked for."""
    worker: SlurmJob = SlurmJob(cpus=4, memory_gib=16)
    driver: SlurmJob = SlurmJob(cpus=1, memory_gib=4, hours=48)
    """The job that hands out blocks and merges; its partition, account and qos are the workers' where it has none."""
    setup: tuple[str, ...] = ()
    """Shell lines before the program, e.g. ``module load cuda``."""
    container: str | None = None
    """What the program's command line begins with, e.g. ``apptainer exec --nv image.sif``."""
    python: str | None = None
    """Interpreter on the nodes; None: the one that runs now."""
    interface: str | None = None
    """Network interface of driver and workers, e.g. ``ib0``; None: that of the default route."""
    encrypt: bool = True
    """Whether driver and workers talk by TLS, with keys that only this user can read. A Dask scheduler runs any code
    that is sent to it."""
    notice_s: int = Field(default=120, ge=10)
    """How long before its wall time a job leaves, and goes back to the queue."""
    wait_hours: float = Field(default=24.0, gt=0)
    """How long a run waits while it has no worker at all."""

    @field_validator("setup")
    @classmethod
    def _shell_lines(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        if any("\n" in line for line in lines):
            raise ValueError("expected a list of single lines")
        return lines

    @model_validator(mode="after")
    def _can_be_meant(self) -> Self:
        if self.workers_min > self.workers_max:
            raise ValueError(f"workers_min is {self.workers_min}, more than workers_max, {self.workers_max}")
        for name, job in (("worker", self.worker), ("driver", self.driver)):
            if 2 * self.notice_s > job.hours * 3600:
                raise ValueError(
                    f"notice_s is {self.notice_s}, more than half of {name}.hours ({job.hours:g} h); raise hours"
                )
        if self.driver.gres is not None:
            raise ValueError("driver.gres is set, but the driver computes nothing; remove it")
        return self

    @property
    def driver_job(self) -> SlurmJob:
        """The driver's request, with the workers' partition, account and qos where it has none of its own."""
        names = ("partition", "account", "qos")
        return self.driver.replace(**{name: getattr(self.driver, name) or getattr(self.worker, name) for name in names})

    @property
    def worker_threads(self) -> int:
        """CPU threads of one worker process."""
        return max(1, self.worker.cpus // max(1, self.worker.gpus))

    @property
    def worker_bytes(self) -> int:
        """Memory limit of one worker process: the job's, less a tenth for the process that watches it."""
        return int(0.9 * self.worker.memory_bytes) // max(1, self.worker.gpus)


SiteProfile = LocalSite | CudaSite | SlurmSite
_KINDS: dict[str, type[SiteProfile]] = {"local": LocalSite, "cuda": CudaSite, "slurm": SlurmSite}


def shipped_profiles() -> dict[str, Path]:
    """Profiles that ship with the package, by name."""
    folder = Path(str(resources.files("lls_decode.cluster"))) / "sites"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_profile(path: str | Path) -> SiteProfile:
    """Read a site profile.

    Raises
    ------
    ConfigError
        The file is absent, is no YAML mapping, or holds unknown keys or impossible values.
    """
    data = read_mapping(path)
    kind = data.get("kind")
    if kind not in _KINDS:
        raise ConfigError(f"{path}: kind is {kind!r}, expected one of {', '.join(_KINDS)}.")
    return parse(_KINDS[kind], data, source=str(path))


def find_profile(name: str) -> SiteProfile:
    """The profile that a name, or the path of a YAML file, stands for.

    Raises
    ------
    SiteError
        There is neither.
    ConfigError
        The file is no valid profile.
    """
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
        f"Unknown site {name!r}{hint}; known are {', '.join(known)}, the path of a profile (.yaml), tcp://HOST:PORT "
        "and tls://HOST:PORT."
    )
