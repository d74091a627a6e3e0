"""Profile of a SLURM site: the jobs to request, and how a run uses them."""

import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from lls_decode.cluster.profile import SiteProfile, gib_to_bytes
from lls_decode.config.base import Config
from lls_decode.errors import SiteError


class SlurmJob(Config):
    """Resources that one job requests from SLURM."""

    partition: str | None = None
    """Partition; None: the default partition."""
    account: str | None = None
    """Account to charge; None: the user's default account."""
    qos: str | None = None
    """Quality of service; None: SLURM's default."""
    cpus: int = Field(default=1, ge=1)
    """Number of CPUs of the job."""
    memory_gib: float | None = Field(default=4.0, gt=0)
    """Memory of the job (``--mem``), GiB; None: not requested, for clusters that forbid ``--mem``. SLURM then gives its
    default amount, and workers limit themselves to it."""
    memory_per_cpu_gib: float | None = Field(default=None, gt=0)
    """Memory per CPU of the job (``--mem-per-cpu``), GiB; replaces ``memory_gib``."""
    hours: float = Field(default=8.0, gt=0)
    """Wall time, hours."""
    gres: str | None = Field(default=None, pattern=r"^\w+(:[\w.-]+)*$")
    """Devices, e.g. ``gpu:1`` or ``gpu:a100:2``; each GPU gets one worker process. None: no devices."""
    extra: tuple[str, ...] = ()
    """Additional sbatch options, e.g. ``--constraint=a100``."""

    @model_validator(mode="before")
    @classmethod
    def _memory_in_one_way(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("memory_per_cpu_gib") is None:
            return data
        if data.get("memory_gib") is not None:
            raise ValueError(
                f"memory_gib is {data['memory_gib']} and memory_per_cpu_gib is {data['memory_per_cpu_gib']}, but a job "
                "can request memory in one way only; set one of them to null"
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
                raise ValueError(
                    f"{line!r} is not an option of sbatch; expected one option per line, e.g. --constraint=a100"
                )
            option = re.split(r"[=\s]", line, maxsplit=1)[0]
            if option in _OURS:
                raise ValueError(f"{option} cannot be given in extra; {_OURS[option]}")
        return lines

    @property
    def memory_bytes(self) -> int | None:
        """Memory that the job requests, in bytes; None: SLURM's default amount."""
        gib = self.cpus * self.memory_per_cpu_gib if self.memory_per_cpu_gib else self.memory_gib
        return gib_to_bytes(gib)

    @property
    def gpus(self) -> int:
        """Number of GPUs of the job according to ``gres``."""
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
"""Options of sbatch that cannot be given in `SlurmJob.extra`, with the reason."""


class SlurmProfile(SiteProfile):
    """Profile of a SLURM site; `SlurmSite` submits its jobs."""

    kind: Literal["slurm"] = "slurm"
    mode: Literal["unattended", "interactive"] = "unattended"
    """How a run uses jobs. ``unattended``: the run itself becomes a small driver job that needs no terminal, with
    workers as a job array. ``interactive``: the client is a process of the user, and the workers end with it
    (notebooks, small runs)."""
    workers_min: int = Field(default=1, ge=1)
    """Number of workers that must be connected before a run starts."""
    workers_max: int = Field(default=4, ge=1)
    """Number of worker jobs to submit."""
    worker: SlurmJob = SlurmJob(cpus=4, memory_gib=16)
    """Resources of each worker job."""
    driver: SlurmJob = SlurmJob(cpus=1, memory_gib=4, hours=48)
    """Resources of the driver job, which hands out blocks and merges shards. If it has no partition, account or qos, it
    uses those of the workers."""
    setup: tuple[str, ...] = ()
    """Shell lines to run before the program, e.g. ``module load cuda``."""
    container: str | None = None
    """Prefix of the program's command line, e.g. ``apptainer exec --nv image.sif``; None: no container."""
    python: str | None = None
    """Path of the Python interpreter on the nodes; None: the interpreter that submits the jobs."""
    interface: str | None = None
    """Network interface of driver and workers, e.g. ``ib0``; None: interface of the default route."""
    encrypt: bool = True
    """Whether driver and workers communicate by TLS, with keys that only this user can read. Without TLS, everyone who
    reaches the scheduler's port can run code, because a Dask scheduler executes any code sent to it."""
    notice_s: int = Field(default=120, ge=10)
    """Time before its wall time at which a job leaves and requeues itself, seconds."""
    wait_hours: float = Field(default=24.0, gt=0)
    """Time that a run waits while it has no workers, hours."""

    @field_validator("setup")
    @classmethod
    def _shell_lines(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        if any("\n" in line for line in lines):
            raise ValueError("expected a list of single lines")
        return lines

    @model_validator(mode="after")
    def _can_be_meant(self) -> Self:
        if self.workers_min > self.workers_max:
            raise ValueError(f"workers_min is {self.workers_min}, which is more than workers_max ({self.workers_max})")
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
        """Resources of the driver job, with the workers' partition, account and qos filled in where it has none."""
        names = ("partition", "account", "qos")
        return self.driver.replace(**{name: getattr(self.driver, name) or getattr(self.worker, name) for name in names})

    @property
    def is_unattended(self) -> bool:
        """Whether the mode of the profile is unattended."""
        return self.mode == "unattended"

    @property
    def worker_threads(self) -> int:
        """Number of CPU threads of one worker process: its share of the job's CPUs."""
        return max(1, self.worker.cpus // max(1, self.worker.gpus))

    @property
    def worker_bytes(self) -> int | None:
        """Memory limit of one worker process in bytes: its share of the job's memory; None if the job requests none."""
        memory = self.worker.memory_bytes
        return None if memory is None else usable(memory) // max(1, self.worker.gpus)

    @property
    def patience_s(self) -> float:
        """Time in seconds that a run waits while it has no workers (`wait_hours`)."""
        return self.wait_hours * 3600

    def refuse_memory_limit(self, memory_limit: int | str | None) -> None:
        """Raise if a memory limit is given, because the memory of a worker is that of its job."""
        if memory_limit is not None:
            raise SiteError(
                "--memory-limit has no effect on SLURM jobs, whose memory is set in the profile; set worker.memory_gib."
            )


def usable(memory_bytes: int) -> int:
    """Return the part of a job's memory that its worker processes may use; a tenth is left to their supervisor."""
    return int(0.9 * memory_bytes)
