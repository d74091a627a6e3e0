"""A script without a ``__main__`` guard can start local workers: they never import the script and end with it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """\
import os
import signal
import sys
import time

from lls_decode.cluster.site import connect

print("imported", flush=True)


class Sum:
    def __init__(self, value):
        self.value = value


def add(sum, number):
    return Sum(sum.value + number)


with connect("local", workers=2, dashboard_address="127.0.0.1:0") as client:
    print("sum", client.submit(add, Sum(1), 2).result().value)
    pids = client.run(os.getpid)
    print("pids", os.getpid(), *pids.values(), flush=True)
    if "wait" in sys.argv:
        time.sleep(600)
    victim, pid = next(iter(pids.items()))
    os.kill(pid, signal.SIGKILL)
    while len(new := client.run(os.getpid, on_error="ignore")) < 2 or pid in new.values():
        time.sleep(0.1)
    print("sum", client.submit(add, Sum(3), 4).result().value, flush=True)
"""
PATIENCE_S = 200


def start(folder: Path, *words: str) -> "subprocess.Popen[str]":
    (folder / "script.py").write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=listen_to_ctrl_c,
    )


def listen_to_ctrl_c() -> None:
    """Make a program stop on Ctrl-C as at a terminal, because shells let background programs ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("words", [("script.py",), ("-m", "script")], ids=" ".join)
def test_workers_get_functions_of_a_script_without_guard(words: tuple[str, ...], tmp_path: Path) -> None:
    """Functions and classes of the script reach all workers, including a worker that its nanny has restarted."""
    out, err = start(tmp_path, *words).communicate(timeout=PATIENCE_S)
    lines = [line for line in out.splitlines() if not line.startswith("pids")]
    assert lines == ["imported", "sum 3", "sum 7"], err
    assert "Traceback" not in err


def test_example_of_the_documentation_runs(tmp_path: Path) -> None:
    """The Python example of docs/howto/hpc.md runs as a script, with a profile for local workers."""
    text = (Path(__file__).parents[3] / "docs" / "howto" / "hpc.md").read_text()
    example = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "mine.yaml" in block)
    (tmp_path / "mine.yaml").write_text("kind: local\nmemory_gib: 1\n")
    (tmp_path / "example.py").write_text(example)
    result = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_worker_outlives_its_script(number: signal.Signals, tmp_path: Path) -> None:
    with start(tmp_path, "script.py", "wait") as process:
        assert process.stdout is not None
        try:
            lines = iter(process.stdout.readline, "")
            (line,) = [next(line for line in lines if line.startswith("pids"))]
        finally:
            process.send_signal(number)
        process.communicate(timeout=PATIENCE_S)
    workers = [int(word) for word in line.split()[2:]]
    assert len(workers) == 2
    limit = time.monotonic() + PATIENCE_S
    while alive := [pid for pid in workers if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < limit, alive
        time.sleep(0.05)
