"""Job scripts as text, and nothing else: no scheduler is asked, no file is written.

A job's shell stays beside its program and is the only one that SLURM tells of the wall time (``--signal=B:``). It then
has the program leave, and puts the job back into the queue. It is also outside of a container, where SLURM's commands
are.
"""

import hashlib
import math
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .profile import SlurmJob, SlurmProfile, usable

PRELOAD = "lls_decode.cluster.slurm.graceful_exit"
WORKER_PROGRAM = "lls_decode.cluster.slurm.worker"
NO_GPU = 'export CUDA_VISIBLE_DEVICES=""'


@dataclass(frozen=True)
class JobFolder:
    """Where the jobs of one run, or of one interactive session, keep what they share."""

    out: Path
    """Run folder, absolute."""
    session: str = ""
    """Distinguishes interactive sessions, of which several may share a folder; empty: the jobs of the run in it."""

    @property
    def name(self) -> str:
        """Name of all jobs: short, the same for the same folder, and hardly that of another."""
        return job_name(self.out) + (f"-{self.session}" if self.session else "")

    @property
    def site(self) -> Path:
        """Scripts, and where the driver is found; readable by the user only."""
        return self.out / "site" / self.session

    @property
    def logs(self) -> Path:
        """One log for each job."""
        return self.out / "logs"

    @property
    def over(self) -> Path:
        """Exists when the driver has ended and will not come back."""
        return self.site / "over"

    def make(self) -> None:
        """Make the folders; keys of the encryption lie in one, which only the user may read.

        Raises
        ------
        OSError
            They cannot be made.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        for path in (self.out / "site", self.site):
            path.mkdir(mode=0o700, exist_ok=True)
            path.chmod(0o700)


def job_name(out: Path) -> str:
    """Name of all jobs of the run in a folder: short, the same for the same folder, and hardly that of another."""
    digest = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:6]
    return f"lls-{re.sub(r'[^A-Za-z0-9_.-]', '-', out.resolve().name)[:24]}-{digest}"


def worker_script(site: SlurmProfile, folder: JobFolder) -> str:
    """One element of the workers' job array."""
    memory = site.worker.memory_bytes
    options = {
        "--name": folder.name,
        "--gpus": site.worker.gpus,
        **({} if memory is None else {"--memory": usable(memory)}),
        "--grace": max(1, site.notice_s - 10),
        **({"--interface": site.interface} if site.interface else {}),
    }
    words = [
        *interpreter(site),
        "-m",
        WORKER_PROGRAM,
        str(folder.site),
        *(str(w) for pair in options.items() for w in pair),
    ]
    return _script(
        site,
        site.worker,
        folder.name,
        log=folder.logs / "worker-%A_%a.log",
        what="worker",
        words=words,
        before=[gpu_line(site.worker)],
        again='scontrol requeue "$SLURM_JOB_ID"',
        after=[],
    )


def driver_script(site: SlurmProfile, folder: JobFolder, command: Sequence[str]) -> str:
    """The job that hands out blocks: ``command`` are the words after the interpreter."""
    script = shlex.quote(str(folder.site / "driver.sh"))
    return _script(
        site,
        site.driver_job,
        folder.name,
        log=folder.logs / "driver-%j.log",
        what="driver",
        words=[*interpreter(site), *command],
        before=[NO_GPU],
        again=f'scontrol requeue "$SLURM_JOB_ID" || sbatch {script}',
        after=[
            "# workers that run see this file and end; those that wait are taken out of the queue",
            f": > {shlex.quote(str(folder.over))}",
            f'scancel --user="$(id -un)" --name={shlex.quote(folder.name)} --state=PENDING',
        ],
    )


def directives(site: SlurmProfile, job: SlurmJob) -> list[str]:
    """What a job asks for, as options of sbatch."""
    named = {"partition": job.partition, "account": job.account, "qos": job.qos, "gres": job.gres}
    return [
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={job.cpus}",
        *_memory_directives(job),
        f"--time={wall_time(job.hours)}",
        *(f"--{key}={value}" for key, value in named.items() if value is not None),
        *job.extra,
    ]


def _memory_directives(job: SlurmJob) -> list[str]:
    """Memory in the one way in which the profile asks for it; none where the cluster forbids to ask."""
    if job.memory_per_cpu_gib is not None:
        return [f"--mem-per-cpu={math.ceil(job.memory_per_cpu_gib * 1024)}M"]
    return [] if job.memory_gib is None else [f"--mem={math.ceil(job.memory_gib * 1024)}M"]


def gpu_line(job: SlurmJob) -> str:
    """Shell line that leaves a job only the GPUs that SLURM gave it.

    Where devices are not fenced, a job without any would see all of them, or those of the shell it was submitted from.
    """
    asked = any("gpu" in line for line in (job.gres or "", *job.extra))
    return f'[ -n "${{SLURM_JOB_GPUS:-}}" ] || {NO_GPU}' if asked else NO_GPU


def wall_time(hours: float) -> str:
    """Hours as SLURM writes them: days-hours:minutes:seconds."""
    minutes, seconds = divmod(round(hours * 3600), 60)
    whole_hours, minutes = divmod(minutes, 60)
    days, whole_hours = divmod(whole_hours, 24)
    return f"{days}-{whole_hours:02d}:{minutes:02d}:{seconds:02d}"


def interpreter(site: SlurmProfile) -> list[str]:
    """Python on the nodes; -P: what lies in the working directory is not imported instead of what is installed."""
    return [site.python or sys.executable, "-P"]


def _script(
    site: SlurmProfile,
    job: SlurmJob,
    name: str,
    *,
    log: Path,
    what: str,
    words: Sequence[str],
    before: Sequence[str],
    again: str,
    after: Sequence[str],
) -> str:
    header = [
        f"--job-name={name}",
        f"--output={_log_path(log)}",
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{site.notice_s}",
        *directives(site, job),
    ]
    program = " ".join([*([site.container] if site.container else []), shlex.join(words)])
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {line}" for line in header),
        "",
        f'echo "$(date "+%F %T") {what}: job $SLURM_JOB_ID on $SLURMD_NODENAME, start ${{SLURM_RESTART_COUNT:-0}}"',
        *before,
        *site.setup,
        "",
        "leaving=",
        "leave() {",
        f'  echo "$(date "+%F %T") {what}: the wall time is near, the program leaves"',
        '  leaving=yes; kill -TERM "$program" 2>/dev/null',
        "}",
        "trap leave USR1",
        f"{program} &",
        "program=$!",
        "# a signal ends 'wait' early; it is waited again until the program is gone",
        'wait "$program"; status=$?',
        'while kill -0 "$program" 2>/dev/null; do wait "$program"; status=$?; done',
        "",
        'if [ -n "$leaving" ]; then',
        f'  echo "$(date "+%F %T") {what}: back to the queue"',
        f"  {again}",
        "  exit",
        "fi",
        *after,
        f'echo "$(date "+%F %T") {what}: ended with status $status"',
        'exit "$status"',
    ]
    return "\n".join(lines) + "\n"


def _log_path(path: Path) -> str:
    """A path in which sbatch replaces nothing but the ids in the file's name."""
    text = f"{str(path.parent).replace('%', '%%')}/{path.name}"
    return f'"{text}"' if re.search(r"\s", text) else text
