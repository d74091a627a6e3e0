"""A dataset that harms the workers that read it. Workers import this module by its bare name (see ``client``)."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from lls_decode.blocks import Block
from lls_decode.frames import FrameSource, FrameStack

BAD_BLOCK = 5


@dataclass(frozen=True)
class HarmfulSource(FrameSource):
    """A dataset with one block that kills or delays its reader, as long as charges are left."""

    charges: str = ""
    """Folder of files, one for each time that a reader is harmed; the reader deletes one of them."""
    hangs: bool = False
    """Whether the reader sleeps for a long time before it is killed."""
    eats: bool = False
    """Whether the reader allocates memory until another program ends it."""

    def read(self, block: Block) -> FrameStack:
        charge = next(Path(self.charges).iterdir(), None) if block.index == BAD_BLOCK else None
        if charge is not None:
            charge.unlink()
            if self.hangs:
                time.sleep(600)
            if self.eats:
                eat()
            os.kill(os.getpid(), signal.SIGKILL)
        return FrameSource.read(self, block)


def eat(most_bytes: int = 6 << 30) -> None:
    """Allocate memory in steps of 16 MiB, slowly enough for a supervisor to notice."""
    food = []
    while len(food) << 24 < most_bytes:
        food.append(b"x" * (1 << 24))
        time.sleep(0.005)
