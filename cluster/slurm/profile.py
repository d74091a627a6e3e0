"""What a profile says of SLURM: the jobs to ask for, and how a run lives in them."""

import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from lls_decode.cluster.profile import SiteProfile, gib_to_bytes
from lls_decode.config.base import Config
from lls_decode.errors import SiteError


class SlurmJob(Config):
    """What one job asks of SLURM."""

    partition: str | None = None
    """None: the default partition."""
    account: str | None = None
    qos: str | None = None
    cpus: int = Field(default=1, ge=1)
    memory_gib: float | None = Field(default=4.0, gt=0)
    """Memory of the job (``--mem``); None: not asked for, as clusters want that forbid ``--mem``. SLURM then gives what
    it gives by default, and workers limit themselves to that."""
    memory_per_cpu_gib: float | None = Field(default=None, gt=0)
    """Memory of each CPU of the job (``--mem-per-cpu``), in place of ``memory_gib``."""
    hours: float = Field(default=8.0, gt=0)
    """Wall time."""
    gres: str | None = Field(default=None, pattern=r"^\w+(:[\w.-]+)*$")
    """Devices, e.g. ``gpu:1`` or ``gpu:a100:2``; one worker process for each GPU."""
    extra: tuple[str, ...] = ()
    """Further job lines, e.g. ``--constraint=a100``."""

    @model_validator(mode="before")
    @classmethod
    def _memory_in_one_way(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("memory_per_cpu_gib") is None:
            return data
        if data.get("memory_gib") is not None:
            raise ValueError(
                f"memory_gib is {data['memory_gib']} and memory_per_cpu_gib is {data['memory_per_cpu_gib']}, but a job "
                "asks for memory in one way only; set one of them to null"
            )
        return {**data, "memory_gib": None}

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
    def memory_bytes(self) -> int | None:
        """Memory that the job asks for; None: as much as SLURM gives by default."""
        gib = self.cpus * self.memory_per_cpu_gib if self.memory_per_cpu_gib else self.memory_gib
        return gib_to_bytes(gib)

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
    **dict.fromkeys(("--mem", "--mem-per-gpu"), "use the key memory_gib"),
    "--mem-per-cpu": "use the key memory_per_cpu_gib",
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


class SlurmProfile(SiteProfile):
    """What a profile says of worker jobs; `SlurmSite` opens them."""

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
    def is_unattended(self) -> bool:
        """True, unless the profile says interactive."""
        return self.mode == "unattended"

    @property
    def worker_threads(self) -> int:
        """Share of the job's CPUs."""
        return max(1, self.worker.cpus // max(1, self.worker.gpus))

    @property
    def worker_bytes(self) -> int | None:
        """Share of the job's memory, where it asks for any."""
        memory = self.worker.memory_bytes
        return None if memory is None else usable(memory) // max(1, self.worker.gpus)

    @property
    def patience_s(self) -> float:
        """Patience of the profile, which jobs in a queue need."""
        return self.wait_hours * 3600

    def refuse_memory_limit(self, memory_limit: int | str | None) -> None:
        """Refuse: SLURM gives what a job asks for."""
        if memory_limit is not None:
            raise SiteError(
                "--memory-limit does not go with SLURM, which gives what a job asks for; set worker.memory_gib."
            )


def usable(memory_bytes: int) -> int:
    """Memory of a job that its worker processes may fill; a tenth is for the process that watches them."""
    return int(0.9 * memory_bytes)
