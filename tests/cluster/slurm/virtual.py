"""A real SLURM on this machine for tests, with one controller and one daemon for each virtual node.

All its files are in one folder, and its daemons listen on the loopback interface only. A SLURM that is already
installed on the machine is not touched. The nodes share the machine; their CPUs, memory and GPUs need not exist.
Timeouts of minutes on a real cluster are shortened to seconds. The virtual SLURM needs root and Debian's packages.
"""

import ctypes
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client")
CLUSTER = "virtual"
KILL_WAIT_S = 8
"""Time between SIGTERM and SIGKILL (30 s on a real cluster)."""
NODE_TIMEOUT_S = 10
"""Time without an answer after which SLURM considers a node lost, up to a third more (300 s on a real cluster)."""
REQUEUE_S = 10
"""Time until a requeued job may start again (120 s on a real cluster)."""
PATIENCE_S = 300
"""Default timeout of tests for expected events: a busy machine needs ten times as long as an idle one."""
MAIN, SCAVENGE = "main", "scavenge"
"""Names of the two partitions; jobs of the first preempt jobs of the second, which SLURM then requeues."""

CONFIGURATION = """\
ClusterName={cluster}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={requeue}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/ended.log
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=3,bf_interval=3
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=1
SlurmctldTimeout=30
SlurmdTimeout={node_timeout}
KillWait={kill_wait}
MinJobAge=600
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName={main} Nodes={names} Default=YES DefaultTime=60 MaxTime=12:00:00 PriorityTier=10 PreemptMode=OFF State=UP
PartitionName={scavenge} Nodes={names} DefaultTime=60 MaxTime=12:00:00 PriorityTier=1 PreemptMode=REQUEUE State=UP
"""


def why_not() -> str | None:
    """Install SLURM if necessary, and return the reason why it cannot be started here, or None if it can."""
    if os.geteuid() != 0:
        return "a virtual SLURM needs root"
    if not _may_make_devices():
        return "a virtual SLURM needs device files for its GPUs, and none can be made here (no CAP_MKNOD)"
    if all(shutil.which(name, path=_path()) for name in ("munged", "slurmctld", "slurmd", "sbatch")):
        return None
    if shutil.which("apt-get") is None:
        return "SLURM is not installed, and there is no apt-get to install it"
    options = ["-q", "-y", "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=15"]  # fail soon without a network
    install = ["apt-get", "install", *options, "--no-install-recommends", *PACKAGES]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    said = ""
    for command in (install, ["apt-get", "update", *options], install):
        try:
            result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            return "SLURM cannot be installed: apt-get has not ended within 300 s"
        if command is install and result.returncode == 0:
            return None
        said = " ".join(result.stderr.split()) or f"apt-get ended with status {result.returncode}"
    return f"SLURM cannot be installed: {said[-200:]}"


def _may_make_devices() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.mknod(Path(folder) / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except OSError:
            return False
    return True


class VirtualSlurm:
    """A running SLURM, used as a context manager.

    While the context lasts, ``os.environ['SLURM_CONF']`` makes SLURM's commands use this SLURM.
    """

    def __init__(self, folder: Path, *, nodes: int = 4, cpus: int = 4, memory_mib: int = 8000, gpus: int = 2) -> None:
        self.folder = folder
        self.nodes = [f"n{number + 1}" for number in range(nodes)]
        self._sizes = f"CPUs={cpus} RealMemory={memory_mib}"
        self._gpus = gpus
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._before: str | None = None

    def __enter__(self) -> "VirtualSlurm":
        try:
            self._write()
            self._before = os.environ.get("SLURM_CONF")
            os.environ["SLURM_CONF"] = str(self.folder / "slurm.conf")
            self.start_munge()
            self.start_controller()
            for node in self.nodes:
                self.mend(node)
            self.wait_until_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if "slurmctld" in self._daemons:
            self.say("scancel", "--me")
        for name in reversed(list(self._daemons)):
            self._stop(name)
        self._end_jobs()
        if self._before is None:
            os.environ.pop("SLURM_CONF", None)
        else:
            os.environ["SLURM_CONF"] = self._before

    # --- the controller ----------------------------------------------------------------------------------------------

    def start_controller(self) -> None:
        """Start the controller, which loads the queue that it has saved."""
        self._start("slurmctld", "slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        wait_for(lambda: self.say("scontrol", "ping") is not None, "the controller")

    def stop_controller(self) -> None:
        """Stop the controller, which saves its queue."""
        self._stop("slurmctld")

    def start_munge(self) -> None:
        """Start munged, the daemon that authenticates users to SLURM."""
        key, at = self.folder / "munge.key", self.folder / "munge.socket"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_bytes(os.urandom(1024))
        options = [f"--{name}-file={self.folder}/munge.{name}" for name in ("pid", "log", "seed", "key")]
        self._start("munged", "munged", "--foreground", f"--socket={at}", *options)
        wait_for(lambda: self.say("munge", "-n", "-S", str(at)) is not None, "munged")

    def stop_munge(self) -> None:
        """Stop munged."""
        self._stop("munged")

    def say(self, *words: str) -> str | None:
        """Run a command of SLURM and return its output, or None if it fails."""
        try:
            result = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        except subprocess.TimeoutExpired:
            return None
        return result.stdout if result.returncode == 0 else None

    def job_names(self) -> set[str]:
        """Return the names of all jobs in the queue."""
        if "slurmctld" not in self._daemons:
            return set()
        return set((self.say("squeue", "--noheader", "--format=%j") or "").split())

    def cancel(self, name: str) -> None:
        """Cancel all jobs of a name, and wait until they have left the queue."""
        self.say("scancel", f"--name={name}")
        wait_for(lambda: name not in self.job_names(), f"the end of {name}")

    # --- nodes and their accidents -----------------------------------------------------------------------------------

    def crash(self, node: str) -> None:
        """Emulate a power loss: kill the daemon of the node and all processes of its jobs."""
        self.cut(node)
        self._end_jobs(node)

    def cut(self, node: str) -> None:
        """Emulate a lost network: kill the daemon of the node, while its jobs keep running."""
        daemon = self._daemons.pop(node)
        daemon.kill()
        daemon.wait()

    def mend(self, node: str) -> None:
        """Start the daemon of a node."""
        self._start(node, "slurmd", "-D", "-N", node, "-f", str(self.folder / "slurm.conf"))

    def wait_until_up(self) -> None:
        """Wait until all nodes accept jobs, after restarting the daemons of lost nodes and resuming these nodes."""

        def up() -> bool:
            states = (self.say("sinfo", "-h", "-N", "-p", MAIN, "-o", "%T") or "").split()
            return len(states) == len(self.nodes) and set(states) <= {"idle", "mixed", "allocated", "completing"}

        def back() -> bool:
            if up():
                return True
            for node in self.nodes:  # SLURM refuses this command for nodes that are up, without harm
                self.say("scontrol", "update", f"nodename={node}", "state=resume")
            return False

        for node in self.nodes:
            if node not in self._daemons:
                self.mend(node)
        wait_for(back, "nodes that are up", every_s=1)

    def processes_of(self, node: str) -> list[int]:
        """Return the processes of jobs on a node."""
        return self._job_processes(node)

    # --- parts -------------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        for name in ("state", *(f"spool.{node}" for node in self.nodes)):
            (self.folder / name).mkdir(exist_ok=True)
        host = socket.gethostname().partition(".")[0]
        gres = f" Gres=gpu:{self._gpus}" if self._gpus else ""
        port, *ports = _free_ports(1 + len(self.nodes))
        lines = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} {self._sizes}{gres} State=UNKNOWN"
            for node, port in zip(self.nodes, ports, strict=True)
        ]
        text = CONFIGURATION.format(
            cluster=CLUSTER,
            host=host,
            port=port,
            folder=self.folder,
            requeue=REQUEUE_S,
            kill_wait=KILL_WAIT_S,
            node_timeout=NODE_TIMEOUT_S,
            nodes="\n".join(lines),
            names=",".join(self.nodes),
            main=MAIN,
            scavenge=SCAVENGE,
        )
        (self.folder / "slurm.conf").write_text(text)
        for number in range(self._gpus):  # SLURM needs character devices: copies of /dev/null
            device = self.folder / f"gpu{number}"
            if not device.exists():
                os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        files = f"{self.folder}/gpu[0-{self._gpus - 1}]"
        lines = [f"NodeName={node} Name=gpu File={files}" for node in self.nodes if self._gpus]
        (self.folder / "gres.conf").write_text("\n".join([*lines, ""]))

    def _start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PATH": _path()},
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def _stop(self, name: str) -> None:
        daemon = self._daemons.pop(name)
        daemon.terminate()
        try:
            daemon.wait(timeout=15)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def _end_jobs(self, node: str | None = None) -> None:
        """Kill all processes of jobs, repeatedly, because a process may start another one before it ends."""

        def none_left() -> bool:
            for pid in (processes := self._job_processes(node)):
                _kill(pid)
            return not processes

        wait_for(none_left, "the end of the killed jobs")

    def _job_processes(self, node: str | None = None) -> list[int]:
        """Return the processes of jobs and the daemons that started them.

        The daemons come first so that they are killed before they can report the end of a job.
        """
        jobs, above = [], []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                environment = entry.joinpath("environ").read_bytes().split(b"\0")
                parent = int(entry.joinpath("stat").read_text().rpartition(")")[2].split()[1])
                name = Path(f"/proc/{parent}/comm").read_text().strip()
            except (OSError, ValueError):
                continue
            ours = f"SLURM_CONF={self.folder}/slurm.conf".encode() in environment
            there = [item for item in environment if item.startswith(b"SLURMD_NODENAME=")]
            if ours and there and (node is None or there[0] == f"SLURMD_NODENAME={node}".encode()):
                jobs.append(int(entry.name))
                if name == "slurmstepd":
                    above.append(parent)
        return [*above, *jobs]


def wait_for(
    condition: Callable[[], bool], what: str | Callable[[], str], timeout_s: float = PATIENCE_S, *, every_s: float = 0.1
) -> None:
    """Wait until a condition is true; otherwise raise an error that names ``what`` did not happen in time."""
    limit = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > limit:
            raise AssertionError(f"{what if isinstance(what, str) else what()}: not within {timeout_s} s")
        time.sleep(every_s)


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [int(item.getsockname()[1]) for item in sockets]
    finally:
        for item in sockets:
            item.close()


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _end_with_parent() -> None:
    """Make a daemon end when its parent ends, so that a killed test leaves none (prctl, PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
