"""A run as jobs that need no terminal: a driver, and an array of workers that find it.

The submitted command is given as an argument vector; what it does is not known here.
"""

import getpass
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lls_decode.cluster.profile import SlurmSite
from lls_decode.errors import SiteError

from .check import check_site, explain, is_hopeless
from .commands import QueuedJob, SlurmError, cancel, list_jobs, submit
from .driver import describe_dashboard
from .interactive import interactive_script
from .rendezvous import read_rendezvous
from .scripts import JobFolder, driver_script, job_name, worker_script

PROFILE_NAME = "profile.yaml"


@dataclass(frozen=True)
class Jobs:
    """The jobs of the run in a folder."""

    folder: JobFolder
    name: str

    @classmethod
    def of(cls, out: Path) -> "Jobs":
        """Those of the run in ``out``, submitted or not."""
        return cls(JobFolder(out.resolve()), job_name(out))

    def queued(self) -> list[QueuedJob]:
        """Jobs that are waiting or running."""
        return list_jobs(self.name)

    def describe(self) -> list[str]:
        """How to watch and to cancel them."""
        return [
            f"watch      lls-decode status {self.folder.out} --watch",
            f"jobs       squeue --user={getpass.getuser()} --name={self.name}",
            f"logs       {self.folder.logs}",
            f"cancel     {self.cancel_command}",
        ]

    @property
    def cancel_command(self) -> str:
        """Ends the run; what is done stays."""
        return f"scancel --user={getpass.getuser()} --name={self.name}"

    def latest_log(self) -> Path | None:
        """The driver's log that was written last."""
        logs = sorted(self.folder.logs.glob("driver-*.log"), key=lambda path: path.stat().st_mtime)
        return logs[-1] if logs else None

    def last_error(self) -> str | None:
        """The error that ended the driver, from its log; None when it says none."""
        log = self.latest_log()
        if log is None:
            return None
        lines = log.read_text(errors="replace").splitlines()[-20:]
        return next((line for line in reversed(lines) if line.startswith("Error: ")), None)

    def dashboard(self) -> str | None:
        """How to see the dashboard of the driver; None before it has begun."""
        meeting = read_rendezvous(self.folder.site)
        return describe_dashboard(meeting) if meeting and meeting.dashboard_port else None


def submit_jobs(
    site: SlurmSite, out: Path, *, workers: int | None, make_command: Callable[[Path], Sequence[str]]
) -> tuple[str, str]:
    """Check, write the scripts, and submit driver and workers; gives the ids of both.

    Parameters
    ----------
    make_command
        Given the profile that the driver reads, gives the words after the interpreter.

    Raises
    ------
    SiteError
        SLURM does not answer, or will not give what the profile asks for.
    """
    check_site(site)
    folder, wanted = JobFolder(out.resolve()), workers or site.workers_max
    try:
        folder.logs.mkdir(parents=True, exist_ok=True)
        folder.site.mkdir(mode=0o700, exist_ok=True)
        folder.site.chmod(0o700)
        folder.over.unlink(missing_ok=True)
        profile = folder.site / PROFILE_NAME
        profile.write_text(site.to_yaml())
        for what, text in job_scripts(site, out, make_command(profile)).items():
            (folder.site / f"{what}.sh").write_text(text)
    except OSError as error:
        raise SiteError(
            f"{folder.site} cannot be written ({error.strerror}); mend permissions, or free space."
        ) from error
    driver = submit(folder.site / "driver.sh")
    try:
        array = submit(folder.site / "worker.sh", f"--array=0-{wanted - 1}", f"--dependency=after:{driver}")
    except SlurmError:
        cancel(driver)
        raise
    return driver, array


def job_scripts(site: SlurmSite, out: Path, command: Sequence[str]) -> dict[str, str]:
    """The texts of both job scripts: ``driver`` and ``worker``."""
    folder, name = JobFolder(out.resolve()), job_name(out)
    return {"driver": driver_script(site, folder, name, command), "worker": worker_script(site, folder, name)}


def describe_scripts(site: SlurmSite, out: Path, command: Sequence[str]) -> str:
    """What would be submitted, as text."""
    folder = JobFolder(out.resolve())
    if site.mode == "interactive":
        return f"# {site.workers_max} times, by dask-jobqueue\n{interactive_script(site, folder)}"
    scripts = job_scripts(site, out, command)
    array = f"sbatch --array=0-{site.workers_max - 1} --dependency=after:DRIVER {folder.site}/worker.sh"
    return f"# sbatch {folder.site}/driver.sh\n{scripts['driver']}\n# {array}\n{scripts['worker']}"


@dataclass
class Watch:
    """Looks at the jobs of a run, now and then, for whoever follows it from outside."""

    jobs: Jobs
    said: tuple[str, ...] = ()
    missed: int = 0

    def look(self) -> tuple[bool, list[str]]:
        """Whether a driver is still there (or SLURM does not answer), and what is new to say."""
        try:
            queued = self.jobs.queued()
        except SlurmError as error:
            return True, self._new([str(error)])
        drivers = [job for job in queued if not job.in_array]
        self.missed = 0 if drivers else self.missed + 1
        hopeless = any(is_hopeless(job) for job in queued)
        advice = [f"these jobs do not begin by themselves; cancel with: {self.jobs.cancel_command}"]
        dashboard = self.jobs.dashboard() if any(not job.waits for job in drivers) else None
        lines = [*explain(queued), *(advice if hopeless else []), *([f"dashboard: {dashboard}"] if dashboard else [])]
        return self.missed < 2, self._new(lines)

    def _new(self, lines: list[str]) -> list[str]:
        """Lines that were not said the last time; words before the colon, with counts of jobs, do not matter."""
        kinds = tuple(line.partition(": ")[2] or line for line in lines)
        new = [line for line, kind in zip(lines, kinds, strict=True) if kind not in self.said]
        self.said = kinds
        return new
