"""Run spike-in on a real movie, and on a simulated movie for which the true score is known.

    python benchmarks/accuracy/spike_in.py --out folder/ [--data ../shared/data/movies/storm_scmos_real]

The program prints one JSON line for each movie:

(a) The real 2-D STORM movie with its sCMOS maps.
(b) The demo's cell, 12 volumes: recall and r.m.s. errors of spiked-in emitters, unweighted and weighted to the places
    of the cell (``where_own``), and of the true emitters. The true emitters are weighted to the photons of the
    spiked-in emitters, whose on-times are those of the training.
"""

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

from lls_decode.blocks import plan_blocks
from lls_decode.config import MovieConfig, RunConfig, ScmosCamera, load, load_run_config
from lls_decode.emitters import Emitters
from lls_decode.evaluate import SpikeRows, match_spikes, read_truth, score_spikes
from lls_decode.localize import build_localizer
from lls_decode.models import find_bundle, find_config
from lls_decode.movies import convert
from lls_decode.pipelines.flows.spike_in import SpikeResult, spike_in
from lls_decode.pipelines.planning.plan import Plan, make_plan
from lls_decode.simulate import simulate_movie

HERE = Path(__file__).resolve().parent
HARDWARE = f"{platform.machine()}, {os.cpu_count()} cores"
VOLUMES = 12
DENSITY_PER_UM2 = 0.04
"""Density of spiked-in emitters, twice the default, so that enough of them are on the cell."""
PHOTON_BINS = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HERE.parents[2] / "shared/data/movies/storm_scmos_real")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    real_movie(arguments.data, arguments.out / "storm_scmos_real")
    demo_movie(arguments.out / "demo")


def real_movie(data: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    offset, variance, gain = np.load(data / "calib.npy")
    paths = {}
    for name, values in {"offset_adu": offset, "gain_adu_per_e": gain, "variance_adu2": variance}.items():
        paths[name] = str(out / f"{name}.npy")
        np.save(paths[name], values)
    convert(data / "sample.dax", out / "movie.zarr", overwrite=True, salvage=True)
    config = RunConfig(camera=ScmosCamera(**paths))
    say("storm_scmos_real", spike_in(out / "movie.zarr", find_bundle("storm-2d"), out, config))


def demo_movie(out: Path) -> None:
    movie = load(MovieConfig, find_config("demo-movie")).replace(num_volumes=VOLUMES)
    simulated = simulate_movie(movie, out / "movie", overwrite=True)
    config = load_run_config(simulated.run_config)
    emitters = movie.simulation.emitters
    result = spike_in(
        simulated.store,
        find_bundle("lls-paint"),
        out,
        config,
        photons=emitters.photons_mean,
        density_per_um2=DENSITY_PER_UM2,
    )
    plan = make_plan(simulated.store, find_bundle("lls-paint"), out, config)
    say("demo cell", result, truth=true_score(plan, read_truth(simulated.truth), result))


def true_score(plan: Plan, truth: Emitters, result: SpikeResult) -> dict[str, Any]:
    """Return the score of the true emitters, weighted to the photons of the spiked-in emitters."""
    localizer = build_localizer(plan.bundle_path, plan.config, plan.layout)
    parts = []
    for block in plan_blocks(plan.layout, plan.bundle.network.context, 128):
        table = localizer.run(plan.source.read(block))
        parts.append(Emitters.from_columns({name: table[name].to_numpy() for name in table.column_names}))
    nobody = Emitters.concatenate([])
    matches = match_spikes(truth, nobody, Emitters.concatenate(parts))
    low, high = plan.bundle.z_range_nm
    wanted = (truth.photons >= 50) & (truth.z_nm >= low) & (truth.z_nm <= high)
    unknown = {axis: np.full(len(truth), np.nan) for axis in "xyz"}
    rows = SpikeRows(truth, matches.found, matches.is_found, unknown).select(wanted)
    spiked = result.rows.spikes.photons
    edges = np.quantile(spiked, np.linspace(0, 1, PHOTON_BINS + 1))
    edges[0], edges[-1] = 0, np.inf
    share = np.histogram(spiked, edges)[0] / np.maximum(np.histogram(rows.spikes.photons, edges)[0], 1)
    weight = share[np.searchsorted(edges, rows.spikes.photons, side="right") - 1]
    return short(score_spikes(rows, weight))


def short(score: Any) -> dict[str, Any]:
    names = ("num_spikes", "recall", "recall_low", "recall_high", "rmse_x_nm", "rmse_y_nm", "rmse_z_nm")
    names += ("rmse_x_se_nm", "rmse_y_se_nm", "rmse_z_se_nm", "zscore_x", "zscore_y", "zscore_z", "photon_ratio")
    values = {name: float(getattr(score, name)) for name in names}
    return {name: None if np.isnan(value) else round(value, 4) for name, value in values.items()}


def say(movie: str, result: SpikeResult, **more: Any) -> None:
    report = result.report
    record = {
        "benchmark": "spike_in",
        "movie": movie,
        "model": report.settings["model"],
        "frames": report.settings["frames"],
        "everywhere": short(report.total),
        "where_own": None if report.where_own is None else short(report.where_own),
        "own": report.num_before,
        "own_lost": report.num_lost,
        "other_new": report.num_other,
        **more,
        "hardware": HARDWARE,
    }
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
