"""Small inputs that pages name (``cell.zarr``, ``beads.tif``, ``results/``), each made once, by the program itself."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).parent / "lls-decode"
MOVIE = [
    "num_volumes=12",
    "planes_per_volume=8",
    "height=96",
    "width=96",
    "structure={kind: homogeneous}",
    "simulation.emitters.density_per_um2=0.1",
]
"""Changes of the demo's movie: short, and so sparse that emitters stand alone."""

RUN_YAML = """\
camera:
  kind: scmos
  offset_adu: camera/offset.npy
  gain_adu_per_e: camera/gain.npy
  variance_adu2: camera/variance.npy
  quantum_efficiency: 0.8
pixel_size: {x_nm: 104, y_nm: 104}
geometry: {motion: stage, stage_step_nm: 400, angle_deg: 31.8, propagation_axis: x, scan_direction: 1}
execution: {block_frames: 64}
"""
EMCCD_YAML = """\
camera: {kind: emccd, baseline_adu: 100, e_per_adu: 5.3, em_gain: 300, read_sigma_e: 60, quantum_efficiency: 0.9}
pixel_size: {x_nm: 160.0, y_nm: 160.0}
"""
STORM_YAML = """\
name: storm
simulation:
  pixel_size: {x_nm: 160.0, y_nm: 160.0}
  psf: {kind: gaussian, sigma_nm: 150.0}
  camera: {kind: emccd, baseline_adu: 100, e_per_adu: 5.3, em_gain: 300, read_sigma_e: 60, quantum_efficiency: 0.9}
  emitters: {density_per_um2: 0.1, photons_mean: 1000, photons_sd: 200, on_time_frames: 3, z_range_nm: [0, 0]}
  background: {low: 10, high: 20}
num_volumes: 40
height: 64
width: 64
"""
BEADS = """
import numpy as np
import tifffile
import torch

from lls_decode.config import MovieConfig, load
from lls_decode.models import find_config
from lls_decode.optics import expected_photons
from lls_decode.optics.psf import stamp_radius_px

microscope = load(MovieConfig, find_config("demo-movie")).simulation
focus_nm = (np.arange(49) - 24) * 25.0
beads_nm = [(2010.0, 2043.0, 0.0), (6230.0, 1980.0, 40.0), (2075.0, 6215.0, -30.0), (6160.0, 6249.0, 10.0)]
rows = torch.tensor([(frame, x, y, z + dz) for x, y, dz in beads_nm for frame, z in enumerate(focus_nm)])
light = expected_photons(
    microscope.psf, frame=rows[:, 0].long(), x_nm=rows[:, 1], y_nm=rows[:, 2], z_nm=rows[:, 3],
    photons=torch.full((len(rows),), 50_000.0), pixel=microscope.pixel_size, num_frames=49, height=82, width=82,
    radius_px=stamp_radius_px(microscope.psf, (-700.0, 700.0), microscope.pixel_size),
)
counts = 0.5 * torch.poisson(light + 20, generator=torch.Generator().manual_seed(4)) + 100
tifffile.imwrite("beads.tif", counts.round().numpy().astype(np.uint16), photometric="minisblack")
"""
STACKS = """
from pathlib import Path

import numpy as np
import tifffile
import zarr

frames = np.asarray(zarr.open_array("cell.zarr/0")[:])
frames = frames.reshape(-1, *frames.shape[-2:])
tifffile.imwrite("stack.tif", frames, photometric="minisblack")
Path("raw_folder").mkdir()
volumes = frames.reshape(12, 8, 96, 96)
tifffile.imwrite("raw_folder/cell.ome.tif", volumes, photometric="minisblack", metadata={"axes": "TZYX"})
draw = np.random.default_rng(1)
for name, electrons in {"dark": 0, "level1": 50, "level2": 200, "level3": 800}.items():
    counts = 100 + 2.1 * draw.poisson(electrons, (50, 32, 32)) + draw.normal(0, 2, (50, 32, 32))
    tifffile.imwrite(f"{name}.tif", counts.round().astype(np.uint16), photometric="minisblack")
"""
STRUCTURE = """
import numpy as np
import pandas as pd

draw = np.random.default_rng(0)
begin, end = draw.uniform(500, 9500, (2, 12, 2))
share = draw.uniform(0, 1, (12, 60, 1))
sites_nm = (begin[:, None] + share * (end - begin)[:, None]).reshape(-1, 2)
rows = pd.DataFrame({"frame": np.repeat(np.arange(12), 600)})
place_nm = sites_nm[draw.integers(0, len(sites_nm), len(rows))] + draw.normal(0, 15, (len(rows), 2))
rows["x_nm"], rows["y_nm"] = place_nm[:, 0] + 20.0 * rows.frame, place_nm[:, 1] - 10.0 * rows.frame
rows["z_nm"] = draw.normal(0, 40, len(rows))
rows["photons"], rows["bg"], rows["phot_sig"], rows["prob"] = 1500.0, 20.0, 100.0, 0.95
rows["x_sig"], rows["y_sig"], rows["z_sig"] = 15.0, 15.0, 40.0
rows.to_csv("sites.csv", index=False)
"""
"""Twelve filaments that are visited in twelve volumes, and drift."""
DRIFT_CSV = "volume,dx_nm,dy_nm,dz_nm\n" + "".join(f"{volume},{volume},{-volume},0\n" for volume in range(12))


class Workshop:
    """Makes inputs in one folder when they are first asked for, and gives copies of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def provide(self, names: set[str], target: Path, page: str = "") -> None:
        """Copy the inputs of a page's example into a folder, and make those that do not exist yet."""
        for name in sorted(names):
            stored = INSTEAD.get(page, {}).get(name, name)
            self.make(stored)
            source, copy = self.folder / stored, target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy, dirs_exist_ok=True)
            else:
                shutil.copy(source, copy)
            self.provide(set(WITH.get(name, ())), target, page)

    def make(self, name: str) -> None:
        """Make an input unless it exists."""
        if not (self.folder / name).exists():
            INPUTS[name](self)
            assert (self.folder / name).exists(), f"the recipe of {name} has not made it"

    def run(self, *words: str) -> None:
        """Execute one command of the program in the folder."""
        self._execute([str(PROGRAM), *words])

    def python(self, program: str) -> None:
        self._execute([sys.executable, "-c", program])

    def _execute(self, words: list[str]) -> None:
        done = subprocess.run(words, cwd=self.folder, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words[:3]}: {done.stderr}"

    # recipes, each of which makes one or more inputs

    def movie(self) -> None:
        changes = [word for change in MOVIE for word in ("--set", change)]
        self.run("simulate", "--config", "demo-movie", "--out", "movie", *changes)
        (self.folder / "movie" / "movie.zarr").rename(self.folder / "cell.zarr")
        shutil.copy(self.folder / "movie" / "truth.parquet", self.folder)
        (self.folder / "camera").mkdir()
        for key, name in {"offset_adu": "offset", "gain_adu_per_e": "gain", "variance_adu2": "variance"}.items():
            shutil.copy(self.folder / "movie" / "camera" / f"{key}.npy", self.folder / "camera" / f"{name}.npy")

    def run_yaml(self) -> None:
        (self.folder / "run.yaml").write_text(RUN_YAML)

    def emccd(self) -> None:
        (self.folder / "emccd.yaml").write_text(EMCCD_YAML)

    def storm(self) -> None:
        (self.folder / "storm.yaml").write_text(STORM_YAML)
        self.run("simulate", "--config", "storm.yaml", "--out", "storm")
        (self.folder / "storm" / "movie.zarr").rename(self.folder / "movie.zarr")

    def archive(self) -> None:
        self.make("cell.zarr")
        for place in ("day1/cell1", "day2/cell2"):
            shutil.copytree(self.folder / "cell.zarr", self.folder / "archive" / f"{place}.zarr")

    def stacks(self) -> None:
        self.make("cell.zarr")
        self.python(STACKS)

    def beads(self) -> None:
        self.python(BEADS)

    def psf(self) -> None:
        self.make("beads.tif")
        camera = ["--offset-adu", "100", "--gain-adu-per-e", "0.5"]
        self.run("calibrate", "beads.tif", "--z-step-nm", "25", "--pixel-nm", "104", *camera, "--out", "mine.npz")
        shutil.copy(self.folder / "mine.npz", self.folder / "psf.npz")

    def model(self) -> None:
        from lls_decode.models import find_bundle

        for path in ("mine.lls", "work/mine/mine.lls"):
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(find_bundle("lls-paint"), self.folder / path)

    def training_yaml(self) -> None:
        self.run("config", "init", "lls-paint", "--out", "mine.yaml")

    def results(self) -> None:
        for name in ("cell.zarr", "run.yaml", "camera"):
            self.make(name)
        self.run("run", "cell.zarr", "--model", "lls-paint", "--out", "results", "--config", "run.yaml")
        self.run("link", "results/localizations.parquet", "--out", "results")

    def copies(self) -> None:
        """Tables of other days, rounds, and a fixed one."""
        self.make("results")
        places = ["other.parquet", "fixed.parquet", "day1.parquet", "day2.parquet", "round1.parquet", "round2.parquet"]
        for place in [*places, "c560/localizations.parquet", "c642/localizations.parquet"]:
            (self.folder / place).parent.mkdir(exist_ok=True)
            shutil.copy(self.folder / "results" / "localizations.parquet", self.folder / place)

    def structure(self) -> None:
        """A table with a structure that drifts."""
        self.python(STRUCTURE)
        (self.folder / "structure").mkdir()
        self.run("import", "sites.csv", "structure/localizations.parquet", "--pixel-nm", "104")
        shutil.copy(self.folder / "structure" / "localizations.parquet", self.folder / "structure.parquet")

    def drift_csv(self) -> None:
        (self.folder / "drift.csv").write_text(DRIFT_CSV)

    def moving(self) -> None:
        """The fixed table, moved as by a stage."""
        self.make("other.parquet")
        (self.folder / "step.csv").write_text(
            "volume,dx_nm,dy_nm,dz_nm\n" + "".join(f"{volume},40,-25,0\n" for volume in range(12))
        )
        self.run("drift", "other.parquet", "--apply", "step.csv", "--out", "moving.parquet")

    def two_channels(self) -> None:
        self.make("fixed.parquet")
        self.make("moving.parquet")
        words = ["--same-frames", "--channels", "tubulin,actin", "--out", "cell.parquet"]
        self.run("join", "fixed.parquet", "moving.parquet", *words)

    def transformation(self) -> None:
        self.make("fixed.parquet")
        self.make("moving.parquet")
        self.run("register", "fixed.parquet", "moving.parquet", "--out", "moved.parquet")


INPUTS: dict[str, Callable[[Workshop], None]] = {
    **dict.fromkeys(("cell.zarr", "truth.parquet", "camera"), Workshop.movie),
    "run.yaml": Workshop.run_yaml,
    "emccd.yaml": Workshop.emccd,
    "movie.zarr": Workshop.storm,
    "archive": Workshop.archive,
    **dict.fromkeys(("stack.tif", "raw_folder", "dark.tif", "level1.tif", "level2.tif", "level3.tif"), Workshop.stacks),
    "beads.tif": Workshop.beads,
    **dict.fromkeys(("psf.npz", "mine.npz"), Workshop.psf),
    **dict.fromkeys(("mine.lls", "work/mine/mine.lls"), Workshop.model),
    "mine.yaml": Workshop.training_yaml,
    "results": Workshop.results,
    **dict.fromkeys(
        ("other.parquet", "fixed.parquet", "day1.parquet", "day2.parquet", "round1.parquet", "round2.parquet"),
        Workshop.copies,
    ),
    **dict.fromkeys(("c560", "c642"), Workshop.copies),
    **dict.fromkeys(("structure", "structure.parquet"), Workshop.structure),
    "drift.csv": Workshop.drift_csv,
    "moving.parquet": Workshop.moving,
    "cell.parquet": Workshop.two_channels,
    "moved_transformation.yaml": Workshop.transformation,
}
"""What pages may name without making it, and how it is made."""

INSTEAD = {"docs/howto/drift.md": {"results": "structure", "other.parquet": "structure.parquet"}}
"""Other inputs of the same name for some pages: emitters of the simulated movie show no structure twice."""
WITH: dict[str, tuple[str, ...]] = {"run.yaml": ("camera",), "dark.tif": ("level1.tif", "level2.tif", "level3.tif")}
"""Files that an input needs beside it."""


def environment() -> dict[str, str]:
    """Return the environment of examples: the program and Python of these tests come first, one thread each."""
    path = os.pathsep.join([str(PROGRAM.parent), os.environ.get("PATH", "")])
    return os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
