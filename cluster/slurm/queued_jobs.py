"""The queue of SLURM: jobs of this user in it, and what the reasons mean for which they wait."""

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
    "Priority": "other jobs come first",
    "Resources": "the machines are busy",
    "None": "SLURM has not looked at it yet",
    "Dependency": "it begins after the driver job has begun",
    "BeginTime": "it was requeued a moment ago, or has a start time",
    "JobArrayTaskLimit": "the array's own limit of jobs at a time",
    "Licenses": "no licence is free",
    "Reservation": "a reservation has not begun",
}
"""Why jobs wait, in words; reasons that time removes."""
HOPELESS = {
    "BadConstraints": "no node fits its constraints; change the profile",
    "DependencyNeverSatisfied": "the job that it waits for is gone; cancel it",
    "InvalidAccount": "the account is not valid; set worker.account",
    "InvalidQOS": "the qos is not valid; set worker.qos",
    "JobHeldAdmin": "an administrator holds it",
    "JobHeldUser": "it is held; 'scontrol release' lets it go",
    "JobHoldMaxRequeue": "it was requeued too often; cancel it and submit again",
    "launch failed requeued held": "it could not be started on its node; see the log, then 'scontrol release'",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is inactive",
    "PartitionNodeLimit": "it asks for more than the partition gives; change the profile",
    "PartitionTimeLimit": "its wall time is longer than the partition allows; lower hours",
    "ReqNodeNotAvail": "the nodes that it needs are down, drained or reserved",
}
"""Reasons that do not go away by waiting."""


@dataclass(frozen=True)
class QueuedJob:
    """One job, or one element of a job array, that is not over."""

    id: str
    state: str
    reason: str
    node: str

    @property
    def in_array(self) -> bool:
        """Whether it is an element of a job array; workers are, drivers are not."""
        return "_" in self.id

    @property
    def array(self) -> str:
        """Id of its job array; its own where it is in none."""
        return self.id.partition("_")[0]

    @property
    def waits(self) -> bool:
        """Whether it has not begun."""
        return self.state == PENDING


def list_jobs(name: str | None = None) -> list[QueuedJob]:
    """Jobs of this user, of a name where one is given, that are waiting or running, array elements one by one.

    Raises
    ------
    SlurmError
        SLURM does not answer; then nothing is known of the jobs.
    """
    words = ["squeue", "--noheader", "--array", f"--user={getpass.getuser()}", "--format=%i|%T|%r|%N"]
    text = ask(*words, *([f"--name={name}"] if name else []))
    jobs = [QueuedJob(*line.split("|", 3)) for line in text.splitlines() if line.count("|") >= 3]
    return [job for job in jobs if job.state not in _GONE]


def explain(jobs: Iterable[QueuedJob]) -> list[str]:
    """Why jobs wait, most frequent reason first: ``3 worker jobs wait: Resources (the machines are busy)``."""
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
    """Whether a job waits for something that does not come by itself."""
    return job.waits and re.split(r"[,(]", job.reason.strip("()"))[0].strip() in HOPELESS.keys() - {"ReqNodeNotAvail"}
