"""Scheduler, workers and client of a run as processes that start within milliseconds.

``python actors.py FOLDER`` imports all modules once and then forks each process ("actor") from itself. It writes the
output of the actors to files in FOLDER, one for each role. It reads requests from stdin, one JSON list per line, and
answers each with one JSON value:

* ``["start", ROLE, ARGUMENTS...]`` starts an actor; the answer is its process id.
* ``["poll", PID]`` asks for the exit status of an actor; the answer is null while the actor is running.
"""

import asyncio
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import numpy as np
import torch
from distributed import Scheduler, Worker

import lls_decode.localize
import lls_decode.pipelines.cli
import lls_decode.pipelines.flows.demo
from lls_decode.blocks import Block
from lls_decode.cluster.settings import DASK_SETTINGS, THREADS_PER_WORKER
from lls_decode.frames import FrameSource, FrameStack
from lls_decode.pipelines.journal.events import Event
from lls_decode.pipelines.journal.json_lines import EventWriter
from lls_decode.table import TableWriter


def scheduler(address_file: str) -> int:
    """Start a scheduler, write its address to a file, and serve until the process is killed."""

    async def serve() -> None:
        async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as server:
            aside = Path(f"{address_file}.aside")
            aside.write_text(server.address)
            aside.rename(address_file)
            await server.finished()

    asyncio.run(serve())
    return 0


def worker(address: str, habits: dict[str, Any]) -> int:
    """Work for a scheduler until the scheduler ends, with optional habits that emulate faults.

    * ``read_s``: time that each read takes in addition, as on a slow disk
    * ``hungry``: index of a block that fails with a lack of memory
    * ``stop``: name of a shard; the worker's thread stops for good before it renames the shard to this name.
      This happens only once, if the file ``charge`` exists, which the worker then deletes.
    """
    read, replace = FrameSource.read, os.replace

    def read_slowly(source: FrameSource, block: Block) -> FrameStack:
        time.sleep(habits.get("read_s", 0.0))
        if block.index == habits.get("hungry"):
            used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, resource.RLIM_INFINITY))
            try:
                np.ones(2**30)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return read(source, block)

    def stop_before_renaming(source: Any, target: Any) -> None:
        if Path(target).name == habits.get("stop") and Path(habits["charge"]).exists():
            Path(habits["charge"]).unlink()
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # this thread does not continue
        replace(source, target)

    FrameSource.read = read_slowly  # type: ignore[method-assign]
    os.replace = stop_before_renaming

    async def serve() -> None:
        options = {"nthreads": THREADS_PER_WORKER, "memory_limit": 0, "dashboard": False, "death_timeout": 30}
        async with Worker(address, **options) as server:
            await server.finished()

    torch.set_num_threads(1)
    asyncio.run(serve())
    return 0


def client(words: list[str], dies_at: str | None = None, by: int = signal.SIGKILL) -> int:
    """Run ``lls-decode`` with these arguments, and send it a signal before it writes the first event of a kind."""

    def die() -> None:
        os.kill(os.getpid(), by)

    write, finish = EventWriter.__call__, TableWriter.finish

    def write_or_die(self: EventWriter, event: Event) -> None:
        if type(event).__name__ == dies_at:
            die()
        write(self, event)

    def finish_and_die(self: TableWriter) -> None:
        finish(self)
        die()

    if dies_at == "half a table":
        TableWriter.finish = finish_and_die  # type: ignore[method-assign]
    elif dies_at:
        EventWriter.__call__ = write_or_die  # type: ignore[method-assign]
    lls_decode.pipelines.cli.main(words)


ROLES: dict[str, Callable[..., int]] = {role.__name__: role for role in (scheduler, worker, client)}


def start(log: str, role: str, *arguments: Any) -> int:
    """Fork an actor and return its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        words = os.open(f"{log}/{role}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(words, 1)
        os.dup2(words, 2)
        status = ROLES[role](*arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


def poll(pid: int) -> int | None:
    """Return the exit status of an actor (negative for a signal), or None while the actor is running."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


if __name__ == "__main__":
    dask.config.set(DASK_SETTINGS)
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        print(json.dumps(start(sys.argv[1], *arguments) if verb == "start" else poll(*arguments)), flush=True)
