"""Job scripts of SLURM, compared as text and run by a shell without SLURM."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lls_decode.cluster.slurm.scripts import job_name, wall_time
from lls_decode.cluster.slurm.site import SlurmSite
from lls_decode.cluster.slurm.unattended import describe_scripts, job_scripts
from lls_decode.config.base import parse

pytestmark = pytest.mark.posix("job scripts of SLURM are run by bash")

OUT = Path("/data/my results/50%")
NAME = job_name(OUT)

SITE: dict[str, Any] = {
    "workers_max": 8,
    "worker": {
        "partition": "gpu", "account": "lab", "qos": "long", "cpus": 4, "memory_gib": 24, "hours": 36.5,
        "gres": "gpu:a100:1", "extra": ["--constraint=a100|h100", "--exclude=node13"],
    },
    "driver": {"partition": "cpu", "memory_gib": 0.5},
    "setup": ["module load cuda/12", "source ~/venv/bin/activate"],
    "container": "apptainer exec --nv image.sif",
    "python": "/opt/venv/bin/python",
    "interface": "ib0",
}  # fmt: skip

WORKER = f"""\
#!/bin/bash
#SBATCH --job-name={NAME}
#SBATCH --output="/data/my results/50%%/logs/worker-%A_%a.log"
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=24576M
#SBATCH --time=1-12:30:00
#SBATCH --partition=gpu
#SBATCH --account=lab
#SBATCH --qos=long
#SBATCH --gres=gpu:a100:1
#SBATCH --constraint=a100|h100
#SBATCH --exclude=node13

echo "$(date "+%F %T") worker: job $SLURM_JOB_ID on $SLURMD_NODENAME, start ${{SLURM_RESTART_COUNT:-0}}"
[ -n "${{SLURM_JOB_GPUS:-}}" ] || export CUDA_VISIBLE_DEVICES=""
module load cuda/12
source ~/venv/bin/activate

leaving=
leave() {{
  echo "$(date "+%F %T") worker: the wall time is near, asking the program to leave"
  leaving=yes; kill -TERM "$program" 2>/dev/null
}}
trap leave USR1
apptainer exec --nv image.sif /opt/venv/bin/python -P -m lls_decode.cluster.slurm.worker '/data/my results/50%/site' \
--name {NAME} --gpus 1 --memory 23192823398 --grace 110 --interface ib0 &
program=$!
# a signal ends 'wait' early: wait again until the program has ended
wait "$program"; status=$?
while kill -0 "$program" 2>/dev/null; do wait "$program"; status=$?; done

if [ -n "$leaving" ]; then
  echo "$(date "+%F %T") worker: back to the queue"
  scontrol requeue "$SLURM_JOB_ID"
  exit
fi
echo "$(date "+%F %T") worker: ended with status $status"
exit "$status"
"""


def test_worker_script_is_as_expected() -> None:
    assert job_scripts(site(**SITE), OUT, [])["worker"] == WORKER


def test_driver_script_requests_the_resources_of_the_driver() -> None:
    text = job_scripts(site(**SITE), OUT, ["-m", "a.program", "my movie.zarr"])["driver"]
    lines = text.splitlines()
    asked = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    assert asked >= {"--partition=cpu", "--account=lab", "--qos=long", "--cpus-per-task=1", "--mem=512M", "--requeue"}
    assert not any("gres" in line or "constraint" in line for line in asked)
    assert "apptainer exec --nv image.sif /opt/venv/bin/python -P -m a.program 'my movie.zarr' &" in lines
    assert "  scontrol requeue \"$SLURM_JOB_ID\" || sbatch '/data/my results/50%/site/driver.sh'" in lines


def test_job_without_gpu_hides_all_gpus() -> None:
    text = job_scripts(site(), OUT, [])["worker"]
    assert '\nexport CUDA_VISIBLE_DEVICES=""\n' in text
    assert "--gres" not in text


def test_interactive_script_differs_only_in_name_and_folder() -> None:
    """Interactive workers are the same jobs, and find the client through a folder of the session."""
    text = describe_scripts(site(**SITE, mode="interactive"), OUT, [])
    first, _, script = text.partition("\n")
    assert first == "# sbatch --array=0-7 /data/my results/50%/site/SESSION/worker.sh"
    changes = {"/50%/site'": "/50%/site/SESSION'", NAME: f"{NAME}-SESSION"}
    expected = WORKER
    for old, new in changes.items():
        expected = expected.replace(old, new)
    assert script == expected


MEMORY: dict[str, tuple[dict[str, Any], list[str], bool]] = {
    "per job": ({"memory_gib": 1.5}, ["--mem=1536M"], True),
    "per cpu": ({"memory_per_cpu_gib": 1.5}, ["--mem-per-cpu=1536M"], True),
    "no memory requested": ({"memory_gib": None}, [], False),
}


@pytest.mark.parametrize("job", ["driver", "worker"])
@pytest.mark.parametrize(("values", "lines", "known"), MEMORY.values(), ids=MEMORY.keys())
def test_script_requests_the_memory_of_the_profile(
    values: dict[str, Any], lines: list[str], known: bool, job: str
) -> None:
    """Without a memory request, neither the job lines nor the worker's command mention memory."""
    text = job_scripts(site(**{job: values}), OUT, [])[job]
    asked = [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")]
    assert [line for line in asked if "mem" in line] == lines
    assert ("--memory" in text) == (known and job == "worker")


@pytest.mark.parametrize(
    ("hours", "text"), [(1 / 60, "0-00:01:00"), (1.5, "0-01:30:00"), (23.9999999, "1-00:00:00"), (240, "10-00:00:00")]
)
def test_wall_time_is_written_in_days_and_rounded(hours: float, text: str) -> None:
    assert wall_time(hours) == text


def test_jobs_are_named_by_their_folder(tmp_path: Path) -> None:
    assert job_name(tmp_path / "x" / ".." / "cell 1") == job_name(tmp_path / "cell 1")
    assert job_name(tmp_path / "a" / "cell") != job_name(tmp_path / "b" / "cell")
    assert job_name(tmp_path / "cell 1").startswith("lls-cell-1-")


# --- scripts run by a shell -------------------------------------------------------------------------------------------

PROGRAM = """
import signal, sys, time
from pathlib import Path
def leave(*_):
    Path("left").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
Path("began").touch()
while not Path("finish").exists():
    time.sleep(0.02)
sys.exit(3)
"""


class Job:
    """A driver's script that a shell runs in a folder, with fake SLURM commands that record their arguments."""

    def __init__(self, folder: Path, *, requeue_fails: bool = False) -> None:
        self.folder = folder
        for name in ("scontrol", "sbatch", "scancel"):
            program = folder / "bin" / name
            program.parent.mkdir(exist_ok=True)
            fails = "exit 1" if requeue_fails and name == "scontrol" else ""
            program.write_text(f'#!/bin/bash\necho "{name} $*" >> {folder}/said\n{fails}\n')
            program.chmod(0o755)
        (folder / "program.py").write_text(PROGRAM)
        (folder / "site").mkdir()
        script = folder / "job.sh"
        script.write_text(job_scripts(site(python=sys.executable), folder, ["program.py"])["driver"])
        environment = {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
        self.process = subprocess.Popen(
            ["bash", str(script)], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
        )
        self.wait_for("began")

    def wait_for(self, name: str) -> None:
        limit = time.monotonic() + 30
        while not (self.folder / name).exists():
            assert time.monotonic() < limit
            time.sleep(0.02)

    def end(self) -> tuple[int, str]:
        out, _ = self.process.communicate(timeout=30)
        return self.process.returncode, out

    @property
    def said(self) -> list[str]:
        path = self.folder / "said"
        return path.read_text().splitlines() if path.exists() else []


def test_job_is_requeued_before_its_wall_time_ends(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.process.send_signal(signal.SIGUSR1)
    status, out = job.end()
    assert (status, job.said) == (0, ["scontrol requeue 7"])
    assert (tmp_path / "left").exists()
    assert "the wall time is near" in out
    assert not (tmp_path / "site" / "over").exists()


def test_driver_is_submitted_again_where_jobs_are_not_requeued(tmp_path: Path) -> None:
    job = Job(tmp_path, requeue_fails=True)
    job.process.send_signal(signal.SIGUSR1)
    job.end()
    assert job.said == ["scontrol requeue 7", f"sbatch {tmp_path}/site/driver.sh"]


def test_driver_that_has_ended_stops_its_workers(tmp_path: Path) -> None:
    job = Job(tmp_path)
    (tmp_path / "finish").touch()
    status, out = job.end()
    assert status == 3
    assert "driver: ended with status 3" in out
    assert (tmp_path / "site" / "over").exists()
    (said,) = job.said
    assert said.endswith(f"--name={job_name(tmp_path)} --state=PENDING")


def site(**values: Any) -> SlurmSite:
    return parse(SlurmSite, values, source="test")
