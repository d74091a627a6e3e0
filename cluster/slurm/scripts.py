"""Job scripts, made as text only: this module neither calls SLURM nor writes files.

Each job's shell keeps running beside the program. SLURM warns only the shell before the wall time (``--signal=B:``).
The shell then asks the program to leave and requeues the job. The shell runs outside of any container, where SLURM's
commands are available.
"""

import hashlib
import math
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lls_decode.system import real_path

from .profile import SlurmJob, SlurmProfile, usable

PRELOAD = "lls_decode.cluster.slurm.graceful_exit"
WORKER_PROGRAM = "lls_decode.cluster.slurm.worker"
NO_GPU = 'export CUDA_VISIBLE_DEVICES=""'


@dataclass(frozen=True)
class JobFolder:
    """Folder with the files that the jobs of one run, or of one interactive session, share."""

    out: Path
    """Run folder, absolute."""
    session: str = ""
    """Id of an interactive session, since several sessions may share a folder; empty for the jobs of a run."""

    @property
    def name(self) -> str:
        """Name of all jobs in the queue: short, fixed for a folder, and almost certainly unique to the folder."""
        return job_name(self.out) + (f"-{self.session}" if self.session else "")

    @property
    def site(self) -> Path:
        """Folder of the job scripts and of the driver's address; readable by the user only."""
        return self.out / "site" / self.session

    @property
    def logs(self) -> Path:
        """Folder of the logs, one per job."""
        return self.out / "logs"

    @property
    def over(self) -> Path:
        """File that exists once the driver has ended for good."""
        return self.site / "over"

    def make(self) -> None:
        """Create the folders; `site` holds encryption keys, so only the user may read it.

        Raises
        ------
        OSError
            The folders cannot be created.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        for path in (self.out / "site", self.site):
            path.mkdir(mode=0o700, exist_ok=True)
            path.chmod(0o700)


def job_name(out: Path) -> str:
    """Return the queue name of all jobs of the run in a folder: short, and almost certainly unique to the folder."""
    out = real_path(out)
    digest = hashlib.sha256(str(out).encode()).hexdigest()[:6]
    return f"lls-{re.sub(r'[^A-Za-z0-9_.-]', '-', out.name)[:24]}-{digest}"


def worker_script(site: SlurmProfile, folder: JobFolder) -> str:
    """Return the job script of one element of the workers' job array."""
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
    """Return the job script of the driver, which hands out blocks; ``command`` holds the interpreter's arguments."""
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
            "# running workers see this file and end; pending workers are removed from the queue",
            f": > {shlex.quote(str(folder.over))}",
            f'scancel --user="$(id -un)" --name={shlex.quote(folder.name)} --state=PENDING',
        ],
    )


def directives(site: SlurmProfile, job: SlurmJob) -> list[str]:
    """Return the resource requests of a job as options of sbatch."""
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
    """Return the memory option of sbatch that the profile uses, if any; some clusters forbid memory requests."""
    if job.memory_per_cpu_gib is not None:
        return [f"--mem-per-cpu={math.ceil(job.memory_per_cpu_gib * 1024)}M"]
    return [] if job.memory_gib is None else [f"--mem={math.ceil(job.memory_gib * 1024)}M"]


def gpu_line(job: SlurmJob) -> str:
    """Return a shell line that hides all GPUs from a job, unless SLURM has assigned GPUs to it.

    On clusters that do not isolate devices, a job without GPUs would otherwise see all GPUs of the node, or those of
    the shell that submitted it.
    """
    asked = any("gpu" in line for line in (job.gres or "", *job.extra))
    return f'[ -n "${{SLURM_JOB_GPUS:-}}" ] || {NO_GPU}' if asked else NO_GPU


def wall_time(hours: float) -> str:
    """Convert hours to SLURM's notation, days-hours:minutes:seconds."""
    minutes, seconds = divmod(round(hours * 3600), 60)
    whole_hours, minutes = divmod(minutes, 60)
    days, whole_hours = divmod(whole_hours, 24)
    return f"{days}-{whole_hours:02d}:{minutes:02d}:{seconds:02d}"


def interpreter(site: SlurmProfile) -> list[str]:
    """Return the Python command for the nodes; -P prevents imports from the working directory."""
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
        f'  echo "$(date "+%F %T") {what}: the wall time is near, asking the program to leave"',
        '  leaving=yes; kill -TERM "$program" 2>/dev/null',
        "}",
        "trap leave USR1",
        f"{program} &",
        "program=$!",
        "# a signal ends 'wait' early: wait again until the program has ended",
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
    """Return a path escaped for sbatch, so that it expands only the job ids in the file name."""
    text = f"{str(path.parent).replace('%', '%%')}/{path.name}"
    return f'"{text}"' if re.search(r"\s", text) else text
