"""Job scripts as text, and nothing else: no scheduler is asked, no file is written.

A job's shell stays beside its program and is the only one that SLURM tells of the wall time (``--signal=B:``). It then
has the program leave, and puts the job back into the queue. It is also outside of a container, where SLURM's commands
are.
"""

import hashlib
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lls_decode.cluster.profile import SlurmJob, SlurmSite

PRELOAD = "lls_decode.cluster.slurm.leaving"
WORKER_PROGRAM = "lls_decode.cluster.slurm.worker"
NO_GPU = 'export CUDA_VISIBLE_DEVICES=""'


@dataclass(frozen=True)
class JobFolder:
    """Where the jobs of one run keep what they share."""

    out: Path
    """Run folder, absolute."""

    @property
    def site(self) -> Path:
        """Scripts, and where the driver is found; readable by the user only."""
        return self.out / "site"

    @property
    def logs(self) -> Path:
        """One log for each job."""
        return self.out / "logs"

    @property
    def over(self) -> Path:
        """Exists when the driver has ended and will not come back."""
        return self.site / "over"


def job_name(out: Path) -> str:
    """Name of all jobs of the run in a folder: short, the same for the same folder, and hardly that of another."""
    digest = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:6]
    return f"lls-{re.sub(r'[^A-Za-z0-9_.-]', '-', out.resolve().name)[:24]}-{digest}"


def worker_script(site: SlurmSite, folder: JobFolder, name: str) -> str:
    """One element of the workers' job array."""
    options = {
        "--name": name,
        "--gpus": site.worker.gpus,
        "--memory": int(0.9 * site.worker.memory_bytes),
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
        name,
        log=folder.logs / "worker-%A_%a.log",
        what="worker",
        words=words,
        before=[gpu_line(site.worker)],
        again='scontrol requeue "$SLURM_JOB_ID"',
        after=[],
    )


def driver_script(site: SlurmSite, folder: JobFolder, name: str, command: Sequence[str]) -> str:
    """The job that hands out blocks: ``command`` are the words after the interpreter."""
    script = shlex.quote(str(folder.site / "driver.sh"))
    return _script(
        site,
        site.driver_job,
        name,
        log=folder.logs / "driver-%j.log",
        what="driver",
        words=[*interpreter(site), *command],
        before=[NO_GPU],
        again=f'scontrol requeue "$SLURM_JOB_ID" || sbatch {script}',
        after=[
            "# workers that run see this file and end; those that wait are taken out of the queue",
            f": > {shlex.quote(str(folder.over))}",
            f'scancel --user="$(id -un)" --name={shlex.quote(name)} --state=PENDING',
        ],
    )


def directives(site: SlurmSite, job: SlurmJob) -> list[str]:
    """What a job asks for, as options of sbatch."""
    named = {"partition": job.partition, "account": job.account, "qos": job.qos, "gres": job.gres}
    return [
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={job.cpus}",
        f"--mem={-(-job.memory_bytes // 2**20)}M",
        f"--time={wall_time(job.hours)}",
        *(f"--{key}={value}" for key, value in named.items() if value is not None),
        *job.extra,
    ]


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


def interpreter(site: SlurmSite) -> list[str]:
    """Python on the nodes; -P: what lies in the working directory is not imported instead of what is installed."""
    return [site.python or sys.executable, "-P"]


def _script(
    site: SlurmSite,
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
