"""Jobs of the user in SLURM's queue, and explanations of the reasons for which they wait."""

import getpass
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from .commands import ask

PENDING = "PENDING"
_GONE = {
    "COMPLETED",
    "CANCELLED",
    "FAILED",
    "TIMEOUT",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "BOOT_FAIL",
    "DEADLINE",
}

REASONS = {
    "Priority": "other jobs have priority",
    "Resources": "the nodes are busy",
    "None": "SLURM has not scheduled it yet",
    "Dependency": "it starts after the driver job",
    "BeginTime": "it was requeued recently, or has a start time",
    "JobArrayTaskLimit": "the job array's limit of simultaneous jobs is reached",
    "Licenses": "no licence is free",
    "Reservation": "its reservation has not started",
}
"""Explanations of SLURM's reasons for waiting that resolve themselves with time."""
HOPELESS = {
    "BadConstraints": "no node satisfies its constraints; change the profile",
    "DependencyNeverSatisfied": "the job that it waits for no longer exists; cancel it",
    "InvalidAccount": "the account is not valid; set worker.account",
    "InvalidQOS": "the qos is not valid; set worker.qos",
    "JobHeldAdmin": "an administrator holds it",
    "JobHeldUser": "the user holds it; release it with 'scontrol release'",
    "JobHoldMaxRequeue": "it was requeued too often; cancel it and submit again",
    "launch failed requeued held": "it could not be started on its node; see the log, then 'scontrol release'",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is inactive",
    "PartitionNodeLimit": "it requests more than the partition allows; change the profile",
    "PartitionTimeLimit": "its wall time is longer than the partition allows; lower hours",
    "ReqNodeNotAvail": "the nodes that it needs are down, drained or reserved",
}
"""Explanations of SLURM's reasons that waiting does not resolve, with advice."""


@dataclass(frozen=True)
class QueuedJob:
    """Pending or running job, or element of a job array."""

    id: str
    state: str
    reason: str
    node: str

    @property
    def in_array(self) -> bool:
        """Whether the job is an element of a job array; workers are, drivers are not."""
        return "_" in self.id

    @property
    def array(self) -> str:
        """Id of the job's array; the job's own id if it is not part of an array."""
        return self.id.partition("_")[0]

    @property
    def waits(self) -> bool:
        """Whether the job has not started."""
        return self.state == PENDING


def list_jobs(name: str | None = None) -> list[QueuedJob]:
    """Return the pending and running jobs of this user, optionally only those with a name; array elements separately.

    Raises
    ------
    SlurmError
        SLURM does not answer, so the state of the jobs is unknown.
    """
    words = ["squeue", "--noheader", "--array", f"--user={getpass.getuser()}", "--format=%i|%T|%r|%N"]
    text = ask(*words, *([f"--name={name}"] if name else []))
    jobs = [QueuedJob(*line.split("|", 3)) for line in text.splitlines() if line.count("|") >= 3]
    return [job for job in jobs if job.state not in _GONE]


def explain(jobs: Iterable[QueuedJob]) -> list[str]:
    """Return why jobs wait, most frequent reason first, e.g. ``3 worker jobs wait: Resources (the nodes are busy)``."""
    counts = Counter((job.in_array, job.reason.strip("()")) for job in jobs if job.waits)
    lines = []
    for (in_array, reason), count in counts.most_common():
        what = f"{count} worker job{'s wait' if count > 1 else ' waits'}" if in_array else "the driver job waits"
        key = re.split(r"[,(]", reason)[0].strip()
        words = REASONS.get(key) or HOPELESS.get(key)
        limit = "a limit of your account or qos is reached" if key.startswith(("Assoc", "QOS", "Max")) else None
        lines.append(f"{what}: {reason}" + (f" ({words or limit})" if words or limit else ""))
    return lines


def is_hopeless(job: QueuedJob) -> bool:
    """Return whether a job waits for a reason that waiting does not resolve."""
    return job.waits and re.split(r"[,(]", job.reason.strip("()"))[0].strip() in HOPELESS.keys() - {"ReqNodeNotAvail"}
