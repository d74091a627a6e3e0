"""Measure how long a process waits for compiled code, with an empty cache and with a filled cache.

    python benchmarks/compiling.py [--device cpu] [--filters 24] [--side 64] [--graph fast] [--variant published]

Three processes run one after the other. Each compiles the network and computes a batch of frames, a second batch of
another size, and a single frame. The first process starts with empty caches. The second finds the compiled code in the
cache, and has other batch sizes. In the third, the frames have another size, too. The program prints one JSON line per
process with the seconds of all calls and of each call, without the import of torch; then the ratio of the first two
processes.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import torch

from lls_decode.axes import NetworkVariant
from lls_decode.config import NetworkConfig
from lls_decode.localize.compilation import compile_network
from lls_decode.model.fast import use_fast_graph
from lls_decode.model.network import LocNet

BATCHES = ((6, 5), (4, 3), (1, 1))
LATER_BATCHES = ((9, 8), (5, 4), (1, 1))
"""Numbers of frames and of windows in each call of the first process and of later ones. A run has fewer windows than
frames in its first batch."""


def main() -> None:
    """Run three processes and compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--filters", type=int, default=24)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--graph", default="fast", choices=("plain", "fast"))
    parser.add_argument("--variant", default="published", choices=("published", "light"))
    parser.add_argument("--one", choices=("first", "later"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        batches = BATCHES if options.one == "first" else LATER_BATCHES
        network = (options.filters, options.graph, options.variant)
        print(json.dumps(measure(options.device, *network, options.side, batches)))
        return
    common = {"benchmark": "compiling", "graph": options.graph, "variant": options.variant, "filters": options.filters}
    seconds = []
    with tempfile.TemporaryDirectory() as cache:
        places = {key: value for key, value in os.environ.items() if key != "TORCHINDUCTOR_CACHE_DIR"}
        for process in ("first", "second", "other frame size"):
            side = options.side * 2 if process == "other frame size" else options.side
            done = subprocess.run(
                [
                    *(sys.executable, __file__, *sys.argv[1:]),
                    *("--side", str(side), "--one", "later" if seconds else "first"),
                ],
                env={**places, "XDG_CACHE_HOME": cache},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            calls_s = json.loads(done.stdout.splitlines()[-1])
            seconds.append(sum(calls_s))
            line = {**common, "process": process, "side": side, "device": options.device}
            line |= {"wait_s": round(seconds[-1], 2), "calls_s": [round(each, 2) for each in calls_s]}
            print(json.dumps({**line, "hardware": f"{platform.machine()}, {os.cpu_count()} cores"}), flush=True)
    print(json.dumps({**common, "ratio": round(seconds[0] / seconds[1], 1)}))


@torch.inference_mode()
def measure(
    device: str, filters: int, graph: str, variant: NetworkVariant, side: int, batches: Sequence[tuple[int, int]]
) -> list[float]:
    """Return the seconds that each of the first batches takes."""
    torch.manual_seed(0)
    dtype = torch.float16 if device == "cuda" else torch.float32
    network = LocNet(NetworkConfig(filters=filters, variant=variant)).eval()
    network.to(device, memory_format=torch.channels_last)
    if graph == "fast":
        use_fast_graph(network, dtype)
    inputs = [
        (torch.randn(frames, side, side, device=device), torch.zeros(windows, 3, dtype=torch.int64, device=device))
        for frames, windows in batches
    ]
    compile_network(network, required=True)
    taken = []
    with torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32):
        for frames, windows in inputs:
            began = time.perf_counter()
            network.decode_sparsely(network.encode(frames), windows).logit.sum().item()
            taken.append(time.perf_counter() - began)
    return taken


if __name__ == "__main__":
    main()
