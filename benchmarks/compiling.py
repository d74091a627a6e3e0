"""Measure how long a process waits for compiled code, with an empty cache and with a filled cache.

    python benchmarks/compiling.py [--device cpu] [--filters 24] [--side 64] [--graph fast]

Two processes run one after the other. Each compiles the network and computes a batch of frames, a second batch of
another size, and a single frame. The first process starts with empty caches; the second finds the compiled code in the
cache. The program prints one JSON line per process with the seconds of these first calls, without the import of torch,
and then the ratio.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time

import torch

from lls_decode.config import NetworkConfig
from lls_decode.localize.compilation import compile_network
from lls_decode.model.fast import use_fast_graph
from lls_decode.model.network import LocNet


def main() -> None:
    """Run two processes and compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--filters", type=int, default=24)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--graph", default="fast", choices=("plain", "fast"))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.device, options.filters, options.side, options.graph)))
        return
    seconds = []
    with tempfile.TemporaryDirectory() as cache:
        places = {key: value for key, value in os.environ.items() if key != "TORCHINDUCTOR_CACHE_DIR"}
        for process in ("first", "second"):
            done = subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--one"],
                env={**places, "XDG_CACHE_HOME": cache},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            seconds.append(json.loads(done.stdout.splitlines()[-1]))
            line = {"benchmark": "compiling", "process": process, "graph": options.graph, "filters": options.filters}
            line |= {"device": options.device, "wait_s": round(seconds[-1], 2)}
            print(json.dumps({**line, "hardware": f"{platform.machine()}, {os.cpu_count()} cores"}), flush=True)
    print(json.dumps({"benchmark": "compiling", "graph": options.graph, "ratio": round(seconds[0] / seconds[1], 1)}))


@torch.inference_mode()
def measure(device: str, filters: int, side: int, graph: str) -> float:
    """Return the seconds that the first batches take."""
    torch.manual_seed(0)
    dtype = torch.float16 if device == "cuda" else torch.float32
    network = LocNet(NetworkConfig(filters=filters)).eval().to(device, memory_format=torch.channels_last)
    if graph == "fast":
        use_fast_graph(network, dtype)
    batches = [torch.randn(frames, side, side, device=device) for frames in (6, 4, 1)]
    windows = [torch.arange(len(batch), device=device)[:, None].expand(-1, 3).contiguous() for batch in batches]
    began = time.perf_counter()
    compile_network(network, required=True)
    with torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32):
        for batch, triples in zip(batches, windows, strict=True):
            network.decode_sparsely(network.encode(batch), triples).logit.sum().item()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
