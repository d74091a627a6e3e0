"""Emulate on a CPU how float16 arithmetic on a GPU changes localizations, by rounding every result to float16.

    python benchmarks/accuracy/rounding.py [--volumes 4] [--models lls-paint lls-paint-48] [--graphs plain fast]

The demo's frames are localized twice: in float32, and with weights in float16 and the result of every operation of
the network (convolution, sum, activation) rounded to float16. Sums within a convolution stay in float32, as in the
matrix units of GPUs. The graph ``plain`` uses the layers of `LocNet`; ``fast`` uses those of `lls_decode.model.fast`,
whose partial sums are also rounded. At least 99.8 % of the localizations must agree. The program prints one JSON line
for each model and graph: the Jaccard index of the two sets of localizations, and the differences of their positions
in units of the predicted sigma.
"""

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lls_decode.blocks import plan_blocks
from lls_decode.config import ComputeConfig, MovieConfig, load, load_run_config
from lls_decode.emitters import Emitters
from lls_decode.evaluate import match
from lls_decode.frames import open_source
from lls_decode.localize import build_localizer
from lls_decode.model.fast import FastNet
from lls_decode.model.network import LocNet
from lls_decode.models import find_bundle, find_config
from lls_decode.simulate import Movie, simulate_movie

BLOCK_FRAMES = 128
GATE = 0.998


class Rounding(TorchDispatchMode):
    """Mode in which every float32 result of an operation is rounded to float16."""

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute an operation and round its result."""
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dtype == torch.float32:
            if args and result is args[0]:  # an operation in place
                return result.copy_(result.half())
            places = {value.untyped_storage().data_ptr() for value in args if isinstance(value, Tensor)}
            is_view = result.untyped_storage().data_ptr() in places
            return result if is_view else result.half().float()
        return result


def main() -> None:
    """Print one line for each model and graph."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, default=4)
    parser.add_argument("--models", nargs="+", default=["lls-paint", "lls-paint-48"])
    parser.add_argument("--graphs", nargs="+", default=["plain", "fast"], choices=("plain", "fast"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = load(MovieConfig, find_config("demo-movie")).replace(num_volumes=options.volumes)
        movie = simulate_movie(config, folder)
        for model in options.models:
            exact = localize(movie, model, "exact")
            for graph in options.graphs:
                line = {"benchmark": "rounding", "model": os.path.basename(model), "graph": graph, "dtype": "float16"}
                line |= {"volumes": options.volumes, **compare(exact, localize(movie, model, graph))}
                line |= {"hardware": f"{platform.machine()}, {os.cpu_count()} cores"}
                print(json.dumps(line), flush=True)


def localize(movie: Movie, model: str, graph: str) -> Emitters:
    """Localize the frames with the unchanged network (``exact``) or with a rounded one (``plain``, ``fast``)."""
    source = open_source(movie.store)
    config = load_run_config(movie.run_config).replace(compute=ComputeConfig(device="cpu", dtype="float32"))
    localizer = build_localizer(find_bundle(model), config, source.layout)
    if graph != "exact":
        round_network(localizer.bundle.network, graph)
    blocks = plan_blocks(source.layout, "plane", BLOCK_FRAMES)
    table = pa.concat_tables([localizer.run(source.read(block)) for block in blocks])
    return Emitters.from_columns({name: table[name].to_numpy() for name in table.column_names})


def round_network(network: LocNet, graph: str) -> None:
    """Make a network compute with rounded numbers, in place; heads at detections stay in float32, as on a GPU."""
    if graph == "fast":
        fast = FastNet(network, torch.float16).float()
        fast.dtype = torch.float32
        parts: tuple[Callable[..., Tensor], ...] = (fast.encode, fast.join, fast.logit)
    else:
        for part in (network.frame_net, network.context_net, network.heads["probability"]):
            for value in part.parameters():
                value.data = value.data.half().float()
        parts = (network.encode, network._join, network._logit)
    network.replace_parts(*(rounded(part) for part in parts))


def rounded(part: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function that calls another with every intermediate result rounded."""

    def call(*arguments: Any) -> Tensor:
        with Rounding():
            return part(*arguments)

    return call


def compare(exact: Emitters, found: Emitters) -> dict[str, Any]:
    """Return figures of the agreement between two sets of localizations."""
    pairs = match(exact, found)
    one, other = exact.select(pairs.truth), found.select(pairs.found)
    jaccard = len(pairs) / (len(exact) + len(found) - len(pairs))
    line: dict[str, Any] = {"jaccard_with_float32": round(jaccard, 5), "passes": jaccard > GATE}
    for axis in "xyz":
        moved = np.abs(getattr(other, f"{axis}_nm") - getattr(one, f"{axis}_nm")) / getattr(one, f"{axis}_sig")
        line |= {f"median_d{axis}_over_sigma": round(float(np.median(moved)), 4)}
    return line | {"detections": len(found), "detections_in_float32": len(exact)}


if __name__ == "__main__":
    main()
