"""Measure how fast blocks of frames are read from zarr stores of different layouts.

    python benchmarks/read.py [--planes 512] [--side 512] [--block-frames 64] [--repeats 3]

The stores hold Poisson frames (about 20 photons, gain 2, offset 100) in blosc zstd-1 with byte shuffle, and are in the
page cache. Blocks have one frame of context. They are read with zarr's own codecs and, if it is installed, with
`zarrs`. The program prints one JSON line per case: the speed in uncompressed MB per second, which depends on the number
of cores; the same per CPU-second; the number of cores that decode as fast as a GPU processes 150 or 300 megapixels (two
bytes each) per second; and the share of decoded pixels that the blocks own.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from lls_decode.blocks import plan_blocks
from lls_decode.config import InputConfig
from lls_decode.frames import open_source, use_fast_codecs
from lls_decode.frames.diagnostics import decoded_pixels

GPU_MPX_PER_S = (150, 300)


def layouts(side: int) -> dict[str, tuple[tuple[int, int, int], tuple[int, int, int] | None]]:
    """Return the shapes of chunks and shards of each layout as (planes, y, x)."""
    return {
        "one plane a chunk": ((1, side, side), None),
        "8 planes a chunk": ((8, side, side), None),
        "64-plane shards of single planes": ((1, side, side), (64, side, side)),
        "64-plane shards of 8 planes": ((8, side, side), (64, side, side)),
        "64 planes a chunk": ((64, side, side), None),
        "quarter frames, 64 planes": ((64, side // 2, side // 2), None),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("planes", 512), ("side", 512), ("block-frames", 64), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--codecs", choices=("zarr", "zarrs"), help="Measure only these codecs, in this process.")
    options = parser.parse_args()
    if options.codecs is None:
        for codecs in ("zarr", "zarrs"):  # in separate processes, because open arrays keep their codecs
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--codecs", codecs], check=True)
        return
    if options.codecs == "zarrs" and not use_fast_codecs():
        print(json.dumps({"benchmark": "read", "codecs": "zarrs", "skipped": "zarrs is not installed"}))
        return
    random = np.random.default_rng(0)
    frames = (random.poisson(20, (options.planes, options.side, options.side)) * 2 + 100).astype(np.uint16)
    with tempfile.TemporaryDirectory() as folder:
        for name, (chunks, shards) in layouts(options.side).items():
            path = str(Path(folder) / name.replace(" ", "-"))
            codec = BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")
            array = zarr.create_array(
                path, shape=frames.shape, dtype=frames.dtype, chunks=chunks, shards=shards, compressors=codec
            )
            array[:] = frames
        for name in layouts(options.side):
            source = open_source(Path(folder) / name.replace(" ", "-"), InputConfig(axes="tyx"))
            blocks = plan_blocks(source.layout, "time", options.block_frames)
            rates, per_cpu = [], []
            for _ in range(options.repeats + 1):
                began, began_cpu = time.perf_counter(), time.process_time()
                for block in blocks:
                    source.read(block)
                rates.append(frames.nbytes * 1e-6 / (time.perf_counter() - began))
                per_cpu.append(frames.nbytes * 1e-6 / (time.process_time() - began_cpu))
            mb_per_cpu_s = statistics.median(per_cpu[1:])
            owned = sum(block.num_owned for block in blocks) * options.side**2
            print(
                json.dumps(
                    {
                        "benchmark": "read",
                        "layout": name,
                        "codecs": options.codecs,
                        "block_frames": options.block_frames,
                        "mb_per_s": round(statistics.median(rates[1:])),
                        "mb_per_cpu_s": round(mb_per_cpu_s),
                        **{
                            f"cores_for_{speed}_mpx_per_s": round(speed * frames.itemsize / mb_per_cpu_s, 2)
                            for speed in GPU_MPX_PER_S
                        },
                        "owned_share": round(owned / sum(decoded_pixels(source, block) for block in blocks), 3),
                        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
