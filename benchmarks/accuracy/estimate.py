"""Run `lls-decode estimate` on a simulated movie with known parameters: NAIRR 3DAS_LD.

    python benchmarks/accuracy/estimate.py [--data ../shared/data/movies/nairr_3DAS_LD]

The program prints one JSON line. The movie's authors state 2400 photons, a background of 30 and an on-time of about two
frames; the true density follows from their table.
"""

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path

from lls_decode.config import PixelSize, RunConfig, ScmosCamera, TrainingConfig, load
from lls_decode.evaluate import read_truth
from lls_decode.frames import open_source
from lls_decode.movies import convert
from lls_decode.refine.estimation import estimate

HERE = Path(__file__).resolve().parent
PIXEL_NM = 100.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HERE.parents[2] / "shared/data/movies/nairr_3DAS_LD")
    data = parser.parse_args().data
    pixel = PixelSize(x_nm=PIXEL_NM, y_nm=PIXEL_NM)
    base = load(TrainingConfig, HERE / "nairr-3d.yaml")
    assert isinstance(base.simulation.camera, ScmosCamera)
    with tempfile.TemporaryDirectory() as folder:
        movie = Path(folder) / "movie.zarr"
        convert(data / "3DAS_LD_Validate_Frame.tif", movie, pixel_size=pixel)
        source = open_source(movie, RunConfig().input)
        found = estimate(source, base, camera=base.simulation.camera, pixel_size=pixel)
        layout = source.layout
    field_um2 = layout.height * layout.width * (PIXEL_NM / 1000) ** 2
    truth = read_truth(data / "3DAS_LD_Validate_xyz.csv", pixel_nm=PIXEL_NM)
    line = {"benchmark": "estimate", "movie": data.name, "photons": round(found.photons.mean)}
    line |= {"bg_low": round(found.background.low, 2), "bg_high": round(found.background.high, 2)}
    line |= {"on_time_frames": round(found.on_time.frames, 2), "density_per_um2": round(found.density.per_um2, 4)}
    line |= {"true_density_per_um2": round(len(truth) / (layout.num_frames * field_um2), 4)}
    print(json.dumps({**line, "hardware": f"{platform.machine()}, {os.cpu_count()} cores"}))


if __name__ == "__main__":
    main()
