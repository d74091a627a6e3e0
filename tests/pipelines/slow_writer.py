"""Emulate a microscope: write a movie frame by frame, slowly and irregularly, in one of several ways (``WAYS``).

python slow_writer.py WAY OUT FRAMES.npy SECONDS

The program waits half-way until a file OUT.go exists, so that the program under test has time to follow. At the end it
creates a file OUT.over.
"""

import os
import random
import sys
import time
from pathlib import Path

import numpy as np
import zarr

CHUNK = 4


def main() -> None:
    way, out, frames, seconds = sys.argv[1:]
    data = np.load(frames)
    WAYS[way](Path(out), data, Pauses(Path(out), len(data), float(seconds)))
    Path(f"{out}.over").touch()


class Pauses:
    """Random pauses after each piece of work; all pauses together take ``seconds`` on average."""

    def __init__(self, out: Path, pieces: int, seconds: float) -> None:
        self._go, self._left, self._half, self._mean_s = Path(f"{out}.go"), pieces, pieces // 2, seconds / pieces

    def __call__(self) -> None:
        time.sleep(random.choice([0.0, 0.2, 1.0, 1.0, 2.8]) * self._mean_s)
        self._left -= 1
        while self._left == self._half and not self._go.exists():
            time.sleep(0.02)


def append(out: Path, data: np.ndarray, pause: Pauses, *, zarr_format: int) -> None:
    """Append frame by frame to an array, which rewrites a chunk with every frame that is added to it."""
    chunks = (CHUNK, *data.shape[1:])
    array = zarr.create_array(str(out), shape=(0, *data.shape[1:]), chunks=chunks, dtype="u2", zarr_format=zarr_format)
    for frame in data:
        array.append(frame[None])
        pause()


def declared(out: Path, data: np.ndarray, pause: Pauses) -> None:
    """Create an array of the final shape, and write its zarr v3 shards in place, in pieces and partly out of order."""
    aside = out.with_name("aside.zarr")
    arguments = {"shape": data.shape, "dtype": "u2", "chunks": (2, *data.shape[1:]), "shards": (6, *data.shape[1:])}
    zarr.create_array(str(aside), **arguments)[:] = data
    zarr.create_array(str(out), **arguments)
    shards = [f"c/{i}/0/0" for i in range(-(-len(data) // 6))]
    shards[1], shards[2] = shards[2], shards[1]
    for shard in shards:
        content = (aside / shard).read_bytes()
        (out / shard).parent.mkdir(parents=True, exist_ok=True)
        with (out / shard).open("wb") as file:
            for part in np.array_split(np.frombuffer(content, "u1"), 5):
                file.write(part.tobytes())
                file.flush()
                time.sleep(0.01)
        for _ in range(6):
            pause()


def volumes(out: Path, data: np.ndarray, pause: Pauses) -> None:
    """Write one array per volume under a temporary name, and rename the array when it is complete."""
    out.mkdir()
    for number, volume in enumerate(data):
        aside = out / f"v{number}.zarr.tmp"
        array = zarr.create_array(str(aside), shape=volume.shape, dtype="u2", chunks=(1, *volume.shape[1:]))
        array[:] = volume
        pause()
        os.rename(aside, out / f"v{number}.zarr")


WAYS = {
    "append-v2": lambda *a: append(*a, zarr_format=2),
    "append-v3": lambda *a: append(*a, zarr_format=3),
    "declared": declared,
    "volumes": volumes,
}

if __name__ == "__main__":
    main()
