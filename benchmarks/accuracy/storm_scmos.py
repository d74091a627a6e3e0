"""Localize a real 2-D STORM movie from an sCMOS camera with its own per-pixel calibration, and draw it.

    python benchmarks/accuracy/storm_scmos.py --out picture.png [--data ../shared/data/movies/storm_scmos_real]

The movie has no truth. The program localizes it once with the camera's maps and once with the medians of the maps, and
prints one JSON line for each: counts, medians, and the share of localizations on the noisiest 1 % of the chip's pixels,
which should be no more than 1 %.
"""

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path

import numpy as np

from lls_decode.cluster.site import connect
from lls_decode.config import ExecutionConfig, RunConfig, ScmosCamera
from lls_decode.models import find_bundle
from lls_decode.movies import convert
from lls_decode.pictures.render import render_png
from lls_decode.pipelines.planning.plan import make_plan
from lls_decode.pipelines.running.run import run
from lls_decode.table import read_emitters

HERE = Path(__file__).resolve().parent
NOISY_SHARE = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HERE.parents[2] / "shared/data/movies/storm_scmos_real")
    parser.add_argument("--out", type=Path, default=Path("storm_scmos.png"))
    arguments = parser.parse_args()
    offset, variance, gain = np.load(arguments.data / "calib.npy")
    noisy = variance > np.quantile(variance, 1 - NOISY_SHARE)
    with tempfile.TemporaryDirectory() as folder, connect("local", workers=1) as client:
        scratch = Path(folder)
        convert(arguments.data / "sample.dax", scratch / "movie.zarr", salvage=True)  # one frame more than stated
        maps = {"offset_adu": offset, "gain_adu_per_e": gain, "variance_adu2": variance}
        for name, values in maps.items():
            np.save(scratch / f"{name}.npy", values)
        cameras = {
            "per-pixel maps": ScmosCamera(
                offset_adu=str(scratch / "offset_adu.npy"),
                gain_adu_per_e=str(scratch / "gain_adu_per_e.npy"),
                variance_adu2=str(scratch / "variance_adu2.npy"),
            ),
            "medians": ScmosCamera(
                offset_adu=float(np.median(offset)),
                gain_adu_per_e=float(np.median(gain)),
                variance_adu2=float(np.median(variance)),
            ),
        }
        for name, camera in cameras.items():
            config = RunConfig(camera=camera, execution=ExecutionConfig(block_frames=4))
            plan = make_plan(scratch / "movie.zarr", find_bundle("storm-2d"), scratch / name.replace(" ", "-"), config)
            result = run(plan, client)
            assert result.merged is not None
            found = read_emitters(result.merged)
            pixel = plan.bundle.pixel_size
            column = np.clip(np.rint(found.x_nm / pixel.x_nm).astype(int), 0, plan.layout.width - 1)
            row = np.clip(np.rint(found.y_nm / pixel.y_nm).astype(int), 0, plan.layout.height - 1)
            print(
                json.dumps(
                    {
                        "benchmark": "storm_scmos_real",
                        "camera": name,
                        "frames": plan.layout.num_frames,
                        "localizations": len(found),
                        "median_photons": float(np.median(found.photons)),
                        "median_bg": float(np.median(found.bg)),
                        "median_x_sig_nm": float(np.median(found.x_sig)),
                        "share_on_noisiest_1_percent": float(noisy[row, column].mean()),
                        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
                    }
                ),
                flush=True,
            )
            if name == "per-pixel maps":
                render_png(result.merged, arguments.out, pixel_nm=20)


if __name__ == "__main__":
    main()
