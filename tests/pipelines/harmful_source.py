"""A dataset that does harm to whoever reads it. Workers import this module by its bare name (see ``client``)."""

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
    """A dataset with a block that kills, or holds up, its reader, as long as there are charges left."""

    charges: str = ""
    """Folder of files; each harm takes one away."""
    hangs: bool = False
    eats: bool = False
    """Takes memory until somebody else ends it."""

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
    """Take memory, 16 MiB at a time and not faster than it can be noticed."""
    food = []
    while len(food) << 24 < most_bytes:
        food.append(b"x" * (1 << 24))
        time.sleep(0.005)
