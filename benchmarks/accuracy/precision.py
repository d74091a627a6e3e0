"""Compare localizations of the demo's frames in float32 and in 16-bit arithmetic (bfloat16 or float16).

    python benchmarks/accuracy/precision.py [--volumes 12] [--dtype bfloat16] [--device cpu] [--model lls-paint]

The required Jaccard index is above 0.995; `tests/localize/test_precision.py` enforces it. The program prints one JSON
line: the Jaccard index of the two sets of localizations, the differences of their positions in units of the predicted
sigma, and the score of each set against the truth.
"""

import argparse
import json
import os
import platform
import tempfile
from typing import Literal

import numpy as np
import pyarrow as pa
import torch

from lls_decode.blocks import plan_blocks
from lls_decode.config import ComputeConfig, MovieConfig, load, load_run_config
from lls_decode.emitters import Emitters
from lls_decode.evaluate import match, read_truth, score
from lls_decode.frames import open_source
from lls_decode.localize import build_localizer
from lls_decode.models import find_bundle, find_config
from lls_decode.simulate import Movie, simulate_movie

BLOCK_FRAMES = 128
GATE = 0.995


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, default=12)
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16"))
    parser.add_argument("--model", default="lls-paint", help="A stage-scanned model of the demo's microscope.")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = load(MovieConfig, find_config("demo-movie")).replace(num_volumes=options.volumes)
        movie = simulate_movie(config, folder)
        truth = read_truth(movie.truth)
        found = {dtype: localize(movie, options.model, dtype, options.device) for dtype in ("float32", options.dtype)}
    z_range_nm = config.simulation.emitters.z_range_nm
    pairs = match(found["float32"], found[options.dtype])
    one, other = found["float32"].select(pairs.truth), found[options.dtype].select(pairs.found)
    jaccard = len(pairs) / (len(found["float32"]) + len(found[options.dtype]) - len(pairs))
    line: dict[str, object] = {"benchmark": "precision", "model": options.model, "dtype": options.dtype}
    line |= {"device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu"}
    line |= {"jaccard_with_float32": round(jaccard, 4), "passes": jaccard > GATE}
    for axis in "xyz":
        moved = np.abs(getattr(other, f"{axis}_nm") - getattr(one, f"{axis}_nm")) / getattr(one, f"{axis}_sig")
        line |= {f"median_d{axis}_over_sigma": round(float(np.median(moved)), 3)}
    for dtype, emitters in found.items():
        result = score(truth, emitters, photons_min=50, z_range_nm=z_range_nm)
        line |= {f"{dtype}_detections": len(emitters), f"{dtype}_truth_jaccard": round(result.jaccard, 4)}
        line |= {f"{dtype}_rmse_lateral_nm": round(result.rmse_lateral_nm, 2)}
    print(json.dumps({**line, "hardware": f"{platform.machine()}, {os.cpu_count()} cores"}))


def localize(movie: Movie, model: str, dtype: str, device: Literal["cpu", "cuda"]) -> Emitters:
    source = open_source(movie.store)
    config = load_run_config(movie.run_config).replace(compute=ComputeConfig(device=device, dtype=dtype))
    localizer = build_localizer(find_bundle(model), config, source.layout)
    blocks = plan_blocks(source.layout, "plane", BLOCK_FRAMES)
    table = pa.concat_tables([localizer.run(source.read(block)) for block in blocks])
    return Emitters.from_columns({name: table[name].to_numpy() for name in table.column_names})


if __name__ == "__main__":
    main()
