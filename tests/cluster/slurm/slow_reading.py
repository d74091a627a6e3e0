"""A Dask preload module for workers in tests: frames come from a store that can be held up, and memory can be eaten.

Workers import it by its bare name (``DASK_DISTRIBUTED__WORKER__PRELOAD``). In the folder ``$SLOW_READING``: as long as
there is a file ``closed``, reads of blocks after the first few wait; a file ``eat-JOB`` has a reader in that job start
a process that takes much memory.
"""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from distributed import Worker

from lls_decode.blocks import Block
from lls_decode.frames import FrameSource, FrameStack

FREE_BLOCKS = 6
"""Blocks that are read also when the store is closed."""
EATER = "import time; food = bytearray(3 << 30); food[::4096] = b'x' * len(food[::4096]); time.sleep(60)"

FOLDER = Path(os.environ["SLOW_READING"])
JOB = f"{os.environ.get('SLURM_ARRAY_JOB_ID')}_{os.environ.get('SLURM_ARRAY_TASK_ID')}"
"""As squeue has it."""
read = FrameSource.read


def read_slowly(source: FrameSource, block: Block) -> FrameStack:
    eat()
    while block.index >= FREE_BLOCKS and (FOLDER / "closed").exists():
        time.sleep(0.1)
        eat()
    return read(source, block)


def eat() -> None:
    with suppress(FileNotFoundError):
        (FOLDER / f"eat-{JOB}").unlink()
        subprocess.Popen([sys.executable, "-c", EATER])


def dask_setup(worker: Worker) -> None:
    FrameSource.read = read_slowly  # type: ignore[method-assign]
