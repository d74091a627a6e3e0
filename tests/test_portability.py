"""Portability: one module wraps the system calls that Windows lacks, and paths and file names suit every system."""

import ast
import errno
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PureWindowsPath

import pytest

from lls_decode import system
from lls_decode.addresses import is_address, refuse_remote_output, resolve_dataset
from lls_decode.blocks import plan_blocks
from lls_decode.errors import InputError, OutputError
from lls_decode.pipelines.planning.block_selection import Share
from lls_decode.system import is_portable_name, locked_file, portable_name, publish

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for folder in ("lls_decode", "pipelines", "cluster") for path in (ROOT / folder).rglob("*.py"))
POSIX_MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "msvcrt", "winreg"}
POSIX_NAMES = {
    "os": {
        *("link", "symlink", "statvfs", "mkfifo", "chown", "fchmod", "getuid", "geteuid", "getgid", "setsid", "uname"),
        *(
            "killpg",
            "kill",
            "fork",
            "getpgid",
            "sysconf",
            "getloadavg",
            "sched_getaffinity",
            "pread",
            "pwrite",
            "fsync",
        ),
        *("O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "WNOHANG", "nice", "rename", "replace", "fsync"),
    },
    "signal": {
        *("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGKILL", "SIGALRM", "SIGCHLD", "SIGSTOP", "SIGPIPE", "SIGBREAK", "alarm"),
    },
    "ctypes": {"CDLL", "windll"},
}
ALLOWED = {
    "lls_decode/system.py": {"os.rename", "Path.rename", "os.replace", "os.fsync", "ctypes.CDLL"},
    "pipelines/journal/json_lines.py": {"os.fsync"},  # called for a file open for writing
    "pipelines/doctor/folder.py": {"os.fsync"},
    "cluster/slurm/rendezvous.py": {"os.fsync", "Path.replace"},  # SLURM runs on Linux only
    "cluster/slurm/worker.py": {"os.kill"},  # SLURM runs on Linux only
}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def posix_only(path: Path) -> Iterator[str]:
    """Yield the names that a module uses and that Windows lacks or implements differently."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in POSIX_NAMES.get(node.value.id, ()):
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.keywords:
            is_rename = node.func.attr == "rename" or (node.func.attr == "replace" and len(node.args) == 1)
            yield from [f"Path.{node.func.attr}"] if is_rename else []
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in POSIX_MODULES)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ([node.module] if node.module in POSIX_MODULES else [])
            yield from (
                f"{node.module}.{alias.name}" for alias in node.names if alias.name in POSIX_NAMES.get(node.module, ())
            )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_only_the_system_module_uses_names_that_windows_lacks(path: Path) -> None:
    found = set(posix_only(path)) - ALLOWED.get(path.relative_to(ROOT).as_posix(), set())
    assert not found, f"{sorted(found)}: use lls_decode.system"


def texts_without_encoding(path: Path) -> Iterator[int]:
    """Yield the lines that read or write text in the system's default encoding, which is not UTF-8 on Windows."""
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Call) or any(word.arg in ("encoding", None) for word in node.keywords):
            continue
        words = {word.arg: word.value for word in node.keywords}
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        is_file = name in ("open", "fdopen") and "force_zip64" not in words  # an entry of a zip archive holds bytes
        is_path = isinstance(node.func, ast.Attribute) and name in ("read_text", "write_text")
        if is_path or (is_file and is_text_mode(node, words)):
            yield node.lineno


def is_text_mode(node: ast.Call, words: dict[str | None, ast.expr]) -> bool:
    """Return whether a call opens a file as text: ``open(path)``, ``path.open("w")``, ``os.fdopen(file, "w")``."""
    modes = [*node.args[:2], *(value for name, value in words.items() if name == "mode")]
    constants = [item.value for item in modes if isinstance(item, ast.Constant) and isinstance(item.value, str)]
    stated = [text for text in constants if re.fullmatch(r"[rwaxbt+]{1,3}", text)]
    if stated:
        return "b" not in stated[0]
    return isinstance(node.func, ast.Name) or "newline" in words or "errors" in words


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_text_files_are_opened_with_an_explicit_encoding(path: Path) -> None:
    assert not list(texts_without_encoding(path)), "give encoding='utf-8'"


WINDOWS_PATHS = [
    r"C:\data\cell.zarr",
    "C:/data/cell.zarr",
    "c:cell.zarr",
    r"\\server\share\cell.zarr",
    "//server/share/cell.zarr",
    r"\\?\C:\data\cell.zarr",
    "D:/",
    "C://data//cell.zarr",
]


@pytest.mark.parametrize("text", WINDOWS_PATHS)
def test_a_windows_path_is_not_an_address(text: str) -> None:
    assert not is_address(text)
    assert resolve_dataset(text, windows=True) == text
    refuse_remote_output(PureWindowsPath(text))
    refuse_remote_output(text)


FILE_ADDRESSES = {
    "file:///C:/data/a%20b.zarr": ("C:/data/a b.zarr", "/C:/data/a b.zarr"),
    "file://localhost/D:/a.zarr": ("D:/a.zarr", "/D:/a.zarr"),
    "file:///data/a.zarr": ("/data/a.zarr", "/data/a.zarr"),
    "file://server/share/a.zarr": ("//server/share/a.zarr", None),
}


@pytest.mark.parametrize(("text", "paths"), FILE_ADDRESSES.items(), ids=FILE_ADDRESSES.keys())
def test_a_file_address_is_resolved_to_a_path(text: str, paths: tuple[str, str | None]) -> None:
    windows, posix = paths
    assert is_address(text)
    assert resolve_dataset(text, windows=True) == windows
    assert PureWindowsPath(windows).is_absolute() or windows == "/data/a.zarr"
    if posix is not None:
        assert resolve_dataset(text, windows=False) == posix
    else:
        with pytest.raises(InputError, match="names the host server"):
            resolve_dataset(text, windows=False)


@pytest.mark.parametrize("text", ["s3://bucket/key", "gs://bucket/key", "https://host/key"])
def test_an_output_address_is_refused_even_as_a_windows_path_object(text: str) -> None:
    with pytest.raises(OutputError, match=re.escape(text)):
        refuse_remote_output(PureWindowsPath(text))


NAMES = {
    "cell3": "cell3",
    "cell 3 (µ)": "cell 3 (µ)",
    "b000012.parquet": "b000012.parquet",
    ".hidden": ".hidden",
    "console": "console",
    "cell:3": "cell_3",
    "12:30": "12_30",
    'a"b<c>d|e?f*g\\h/i': "a_b_c_d_e_f_g_h_i",
    "ends.": "ends_",
    "ends ": "ends_",
    "..": "._",
    "NUL": "_NUL",
    "con.parquet": "_con.parquet",
    "Com1.txt": "_Com1.txt",
    "line\nbreak": "line_break",
}


@pytest.mark.parametrize(("name", "made"), NAMES.items(), ids=map(repr, NAMES))
def test_portable_names_replace_what_some_systems_refuse(name: str, made: str) -> None:
    assert portable_name(name) == made
    assert is_portable_name(name) == (name == made)
    assert is_portable_name(made)


def test_names_of_blocks_shares_and_temporary_files_are_portable(tmp_path: Path) -> None:
    from lls_decode.axes import Layout
    from lls_decode.table.files import temporary_beside

    blocks = plan_blocks(Layout(500, 3, 8, 8), context="time", block_frames=4)
    with temporary_beside(tmp_path / "table.parquet") as temporary:
        names = [*(f"{block.id}.parquet" for block in blocks), f"ledger.{Share(2, 8)}.jsonl", temporary.name]
    assert all(map(is_portable_name, names))
    assert len({name.casefold() for name in names}) == len(names)


def test_a_lock_has_one_holder_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with locked_file(path), pytest.raises(BlockingIOError), locked_file(path):
        pass
    assert not path.exists()
    inside, most, guard = 0, 0, threading.Lock()

    def hold(_: int) -> None:
        nonlocal inside, most
        for _ in range(20):
            with locked_file(path, wait_s=60):
                with guard:
                    inside += 1
                    most = max(most, inside)
                with guard:
                    inside -= 1

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(hold, range(6)))
    assert most == 1
    assert not path.exists()


def test_the_end_of_a_process_releases_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    code = f"""
import os
from pathlib import Path
from lls_decode.system import locked_file
with locked_file(Path({str(path)!r})):
    os._exit(1)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 1
    assert path.exists()
    with locked_file(path):
        pass
    assert not path.exists()


def no_links(*args: object) -> None:
    raise OSError(1, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False], ids=["with hard links", "without hard links, as on exFAT"])
def test_only_the_first_of_several_writers_publishes_a_file(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    final = tmp_path / "run.json"

    def try_to(number: int) -> bool:
        whole = tmp_path / f".tmp-{number}"
        whole.write_text(str(number) * 1000)
        return publish(whole, final)

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(try_to, range(8)))
    assert won.count(True) == 1
    assert final.read_text() == str(won.index(True)) * 1000
    assert os.listdir(tmp_path) == ["run.json"]


def test_an_operation_that_windows_refuses_temporarily_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = 3

    def refuse() -> str:
        nonlocal refusals
        refusals -= 1
        if refusals > 0:
            raise PermissionError(13, "in use")
        return "done"

    monkeypatch.setattr(system, "PATIENCE_S", 10.0)
    assert system.patiently(refuse) == "done"
    monkeypatch.setattr(system, "PATIENCE_S", 0.0)
    refusals = 3
    with pytest.raises(PermissionError):
        system.patiently(refuse)


def test_an_operation_that_is_never_permitted_is_not_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows reports an open file as EACCES; EPERM does not change with time."""
    monkeypatch.setattr(system, "PATIENCE_S", 10.0)
    tried = []

    def refuse() -> None:
        tried.append(True)
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with pytest.raises(PermissionError, match="Operation not permitted"):
        system.patiently(refuse)
    assert len(tried) == 1


def test_running_and_ended_processes_are_told_apart() -> None:
    assert system.is_alive(os.getpid())
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert not system.is_alive(process.pid)
    assert not system.is_alive(0)
    assert not system.is_alive(-1)


@pytest.mark.skipif(not hasattr(os, "statvfs"), reason="no statvfs to compare with")
def test_free_files_and_memory_agree_with_the_system(tmp_path: Path) -> None:
    free = system.free_files(tmp_path)
    assert free is None or 0 <= free <= os.statvfs(tmp_path).f_files
    assert 1e8 < system.memory_bytes() < 1e15
    assert socket.gethostname()
