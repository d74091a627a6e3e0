"""Score models on a third-party benchmark: NAIRR 3DAS_LD, 500 simulated frames with a truth for each frame.

    python benchmarks/accuracy/nairr.py [--data ../shared/data/movies/nairr_3DAS_LD]

The program prints one JSON line for a model with temporal context, and one for a model of single frames (same size,
but only the first of the two trainings). The movie is processed like a user's movie: TIFF -> zarr -> blocks on a local
cluster -> Parquet -> score against the csv. ``rmsmd_partition_nm`` is computed like RMSMD-P on the leaderboards of
NAIRR-SMLM, but for the validation movie (random emitters in 32 x 32 pixels), because the truth of the leaderboards'
movie, a circle, is not public.
"""

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path

from lls_decode.cluster.site import connect
from lls_decode.config import ExecutionConfig, PixelSize, RunConfig
from lls_decode.evaluate import read_truth, rmsmd, score
from lls_decode.movies import convert
from lls_decode.pipelines.planning.plan import make_plan
from lls_decode.pipelines.running.run import run
from lls_decode.table import read_emitters

HERE = Path(__file__).resolve().parent
PIXEL_NM = 100.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HERE.parents[2] / "shared/data/movies/nairr_3DAS_LD")
    folder = parser.parse_args().data
    truth = read_truth(folder / "3DAS_LD_Validate_xyz.csv", pixel_nm=PIXEL_NM)
    with tempfile.TemporaryDirectory() as scratch, connect("local", workers=1) as client:
        movie = Path(scratch) / "movie.zarr"
        pixel = PixelSize(x_nm=PIXEL_NM, y_nm=PIXEL_NM)
        convert(folder / "3DAS_LD_Validate_Frame.tif", movie, pixel_size=pixel)
        for name in ("nairr-3d", "nairr-3d-single"):
            config = RunConfig(execution=ExecutionConfig(block_frames=125))
            plan = make_plan(movie, HERE / f"{name}.lls", Path(scratch) / name, config)
            result = run(plan, client)
            assert result.merged is not None
            table = read_emitters(result.merged)
            distance = rmsmd(truth, table).to_dict()
            training = plan.bundle.training
            print(
                json.dumps(
                    {
                        "benchmark": "nairr_3DAS_LD",
                        "model": name,
                        "context": plan.bundle.network.context,
                        "filters": plan.bundle.network.filters,
                        "training_steps": training["steps"],
                        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
                        **score(truth, table).to_dict(),
                        **{f"rmsmd_{name}": value for name, value in distance.items()},
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
