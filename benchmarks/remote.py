"""Measure how blocks of frames are read from a remote store: bytes fetched, and speed.

    python benchmarks/remote.py [--planes 512] [--side 256] [--latency-ms 20]

A web server in a separate process serves stores on this machine. It delays each answer and counts the bytes that it
sends. The stores hold Poisson frames in blosc zstd-1. Blocks have 48 frames and one frame of context, so that each
block needs only a part of its 64-plane shards. ``fetched`` is the number of bytes sent divided by the number of bytes
of the chunks that hold the blocks, which is the least possible. The program prints one JSON line per layout.
"""

import argparse
import json
import multiprocessing
import os
import platform
import re
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from lls_decode.blocks import Block, plan_blocks
from lls_decode.config import InputConfig
from lls_decode.frames import FrameSource, open_source

BLOCK_FRAMES = 48
SHARD_PLANES = 64
LAYOUTS = {"shards of single planes": (1, True), "shards of 8 planes": (8, True), "8 planes a chunk": (8, False)}
"""Number of planes in each chunk, and whether chunks are stored in shards."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planes", type=int, default=512)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--latency-ms", type=float, default=20.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for layout, (planes, sharded) in LAYOUTS.items():
            write_store(folder / layout.replace(" ", "-"), options.planes, options.side, planes, sharded=sharded)
        address, sent = serve(folder, options.latency_ms * 1e-3)
        for layout in LAYOUTS:
            path = layout.replace(" ", "-")
            print(json.dumps(measure(folder / path, f"{address}/{path}", sent, layout, options)), flush=True)


def measure(path: Path, address: str, sent: Any, layout: str, options: argparse.Namespace) -> dict[str, Any]:
    """Read all blocks once, and return the figures of a layout."""
    source = open_source(address, InputConfig(axes="tyx"))
    blocks = plan_blocks(source.layout, "time", BLOCK_FRAMES)
    source.read(blocks[0])  # opens the store
    sent.value = 0
    began = time.perf_counter()
    for block in blocks:
        source.read(block)
    seconds = time.perf_counter() - began
    least = sum(bytes_of_chunks(path, source, block) for block in blocks)
    return {
        "benchmark": "remote",
        "layout": layout,
        "fetched": round(sent.value / least, 3),
        "mb_per_s": round(sum(block.num_read for block in blocks) * options.side**2 * 2e-6 / seconds, 1),
        "seconds_a_block": round(seconds / len(blocks), 3),
        "latency_ms": options.latency_ms,
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def bytes_of_chunks(path: Path, source: FrameSource, block: Block) -> int:
    """Return the stored bytes of the chunks that hold a block, from sizes of files and indices of shards."""
    frames = block.frames[:, 0]
    planes = source.chunks[0]
    chunks = range(int(frames.min()) // planes, int(frames.max()) // planes + 1)
    if source.shards is None:
        return sum((path / f"c/{chunk}/0/0").stat().st_size for chunk in chunks)
    per_shard = source.shards[0] // planes
    total = 0
    for shard in {chunk // per_shard for chunk in chunks}:
        index = np.frombuffer((path / f"c/{shard}/0/0").read_bytes()[-(16 * per_shard + 4) : -4], np.uint64)
        inside = [chunk % per_shard for chunk in chunks if chunk // per_shard == shard]
        total += int(index.reshape(-1, 2)[inside, 1].sum())
    return total


def write_store(path: Path, planes: int, side: int, chunk_planes: int, *, sharded: bool) -> None:
    frames = (np.random.default_rng(0).poisson(20, (planes, side, side)) * 2 + 100).astype(np.uint16)
    array = zarr.create_array(
        path,
        shape=frames.shape,
        dtype=frames.dtype,
        chunks=(chunk_planes, side, side),
        shards=(SHARD_PLANES, side, side) if sharded else None,
        compressors=BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"),
    )
    array[:] = frames


def serve(folder: Path, latency_s: float) -> tuple[str, Any]:
    """Start a server of a folder, and return its address and a counter of the bytes that it has sent."""
    sent = multiprocessing.Value("q", 0)
    port = multiprocessing.Queue()
    multiprocessing.Process(target=_serve, args=(folder, latency_s, sent, port), daemon=True).start()
    return f"http://127.0.0.1:{port.get()}", sent


def _serve(folder: Path, latency_s: float, sent: Any, port: Any) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            time.sleep(latency_s)
            path = folder / self.path.strip("/")
            if not path.is_file():
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            size = path.stat().st_size
            start, stop = _range(self.headers.get("Range"), size)
            self.send_response(206 if self.headers.get("Range") else 200)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
            self.send_header("Content-Length", str(stop - start))
            self.end_headers()
            if self.command == "GET":
                with path.open("rb") as file:
                    file.seek(start)
                    self.wfile.write(file.read(stop - start))
                self.wfile.flush()
                with sent.get_lock():
                    sent.value += stop - start

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.put(server.server_port)
    server.serve_forever()


def _range(header: str | None, size: int) -> tuple[int, int]:
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if not found:
        return 0, size
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


if __name__ == "__main__":
    main()
