"""A Dask preload module for workers in tests, which makes reading wait or fills a job's memory on request.

Workers import this module by its bare name (``DASK_DISTRIBUTED__WORKER__PRELOAD``). Two files in the folder
``$SLOW_READING`` control it:

* While the file ``closed`` exists, reads of all blocks except the first few wait.
* The file ``eat-JOB`` makes a worker of that job start a process that uses much memory.
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
"""Number of blocks that can be read even while the store is closed."""
EATER = "import time; food = bytearray(3 << 30); food[::4096] = b'x' * len(food[::4096]); time.sleep(60)"

FOLDER = Path(os.environ["SLOW_READING"])
JOB = f"{os.environ.get('SLURM_ARRAY_JOB_ID')}_{os.environ.get('SLURM_ARRAY_TASK_ID')}"
"""Job id in the format of squeue."""
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
