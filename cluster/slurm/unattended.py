"""Run as jobs that need no terminal: a driver job, and an array of worker jobs that find the driver.

The command of the driver job is passed in as an argument vector; this module does not know what the command does.

Workers find the driver through a file in the run folder (`rendezvous`). The shell of each job requeues it before its
wall time ends. The driver replaces only those jobs that SLURM does not restart.
"""

import getpass
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lls_decode.errors import SiteError, shell_command
from lls_decode.system import real_path

from .commands import SlurmError, cancel, submit
from .driver import describe_dashboard
from .feasibility import check_site
from .profile import SlurmProfile
from .queued_jobs import QueuedJob, explain, is_hopeless, list_jobs
from .rendezvous import read_rendezvous
from .scripts import JobFolder, driver_script, worker_script

PROFILE_NAME = "profile.yaml"


@dataclass(frozen=True)
class Jobs:
    """Jobs of the run in a folder; implements `lls_decode.cluster.jobs.RunJobs`."""

    site: SlurmProfile
    folder: JobFolder

    @classmethod
    def of(cls, site: SlurmProfile, out: Path) -> "Jobs":
        """Return the jobs of the run in ``out``, whether or not they are submitted."""
        return cls(site, JobFolder(real_path(out)))

    @property
    def name(self) -> str:
        """Name that all jobs of the run have in the queue."""
        return self.folder.name

    @property
    def logs(self) -> Path:
        """Folder that holds the logs of the jobs."""
        return self.folder.logs

    def queued(self) -> list[QueuedJob]:
        """Return the pending and running jobs."""
        return list_jobs(self.name)

    def queued_ids(self) -> list[str]:
        """Return the ids of all pending and running jobs; empty if the driver job is not among them."""
        jobs = self.queued()
        return [job.id for job in jobs] if any(not job.in_array for job in jobs) else []

    def submit(self, workers: int | None, make_command: Callable[[Path], Sequence[str]]) -> str:
        """Check, write and submit all jobs; return a text with their numbers and ids.

        Raises
        ------
        SiteError
            SLURM does not answer, or cannot provide what the profile asks for.
        """
        check_site(self.site)
        folder, wanted = self.folder, workers or self.site.workers_max
        try:
            folder.make()
            folder.over.unlink(missing_ok=True)
            profile = folder.site / PROFILE_NAME
            profile.write_text(self.site.to_yaml(), encoding="utf-8")
            for what, text in job_scripts(self.site, folder.out, make_command(profile)).items():
                (folder.site / f"{what}.sh").write_text(text, encoding="utf-8")
        except OSError as error:
            raise SiteError(
                f"{folder.site} cannot be written ({error.strerror}); correct its permissions, or free disk space."
            ) from error
        driver = submit(folder.site / "driver.sh")
        try:
            array = submit(folder.site / "worker.sh", f"--array=0-{wanted - 1}", f"--dependency=after:{driver}")
        except SlurmError:
            cancel(driver)
            raise
        return f"driver job {driver}, {wanted} worker jobs {array}"

    def watch(self) -> Callable[[], tuple[bool, list[str]]]:
        """Return a function that polls the queue: whether the driver job still exists, and new messages."""
        return Watch(self).look

    def describe(self) -> list[str]:
        """Return lines of text that say how to watch and cancel the jobs."""
        return [
            f"watch      {shell_command('status', self.folder.out, '--watch')}",
            f"jobs       squeue --user={getpass.getuser()} --name={self.name}",
            f"logs       {self.folder.logs}",
            f"cancel     {self.cancel_command}",
        ]

    @property
    def cancel_command(self) -> str:
        """Command that cancels all jobs of the run; finished blocks are kept."""
        return f"scancel --user={getpass.getuser()} --name={self.name}"

    def latest_log(self) -> Path | None:
        """Return the most recent log of the driver job."""
        logs = sorted(self.folder.logs.glob("driver-*.log"), key=lambda path: path.stat().st_mtime)
        return logs[-1] if logs else None

    def last_error(self) -> str | None:
        """Return the error in the log that ended the driver job; None if there is none."""
        log = self.latest_log()
        if log is None:
            return None
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
        return next((line for line in reversed(lines) if line.startswith("Error: ")), None)

    def dashboard(self) -> str | None:
        """Return how to open the driver's dashboard; None if the driver has not started."""
        meeting = read_rendezvous(self.folder.site)
        login = os.environ.get("SLURM_SUBMIT_HOST")
        return describe_dashboard(meeting, login=login) if meeting and meeting.dashboard_port else None


def job_scripts(site: SlurmProfile, out: Path, command: Sequence[str]) -> dict[str, str]:
    """Return the texts of the job scripts ``driver`` and ``worker``."""
    folder = JobFolder(real_path(out))
    return {"driver": driver_script(site, folder, command), "worker": worker_script(site, folder)}


def describe_scripts(site: SlurmProfile, out: Path, command: Sequence[str]) -> str:
    """Return the job scripts that would be submitted, as text."""
    folder = JobFolder(real_path(out), session="" if site.is_unattended else "SESSION")
    array = f"sbatch --array=0-{site.workers_max - 1}"
    if not site.is_unattended:
        return f"# {array} {folder.site}/worker.sh\n{worker_script(site, folder)}"
    scripts = job_scripts(site, out, command)
    after = f"{array} --dependency=after:DRIVER {folder.site}/worker.sh"
    return f"# sbatch {folder.site}/driver.sh\n{scripts['driver']}\n# {after}\n{scripts['worker']}"


@dataclass
class Watch:
    """Poller of the queue, for a process that follows a run from outside its jobs."""

    jobs: Jobs
    said: tuple[str, ...] = ()
    missed: int = 0

    def look(self) -> tuple[bool, list[str]]:
        """Return whether the driver job still exists (or SLURM does not answer), and new messages."""
        try:
            queued = self.jobs.queued()
        except SlurmError as error:
            return True, self._new([str(error)])
        drivers = [job for job in queued if not job.in_array]
        self.missed = 0 if drivers else self.missed + 1
        hopeless = any(is_hopeless(job) for job in queued)
        advice = [f"these jobs will not start by themselves; cancel with: {self.jobs.cancel_command}"]
        dashboard = self.jobs.dashboard() if any(not job.waits for job in drivers) else None
        lines = [*explain(queued), *(advice if hopeless else []), *([f"dashboard: {dashboard}"] if dashboard else [])]
        return self.missed < 2, self._new(lines)

    def _new(self, lines: list[str]) -> list[str]:
        """Return the lines that are new since the last call, ignoring text before a colon, which has job counts."""
        kinds = tuple(line.partition(": ")[2] or line for line in lines)
        new = [line for line, kind in zip(lines, kinds, strict=True) if kind not in self.said]
        self.said = kinds
        return new
