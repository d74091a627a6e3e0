"""Spike-in: for simulated movies it gives the same accuracy as the known truth."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from lls_decode.axes import Layout
from lls_decode.blocks import plan_blocks
from lls_decode.config import ComputeConfig, MovieConfig, RunConfig, TrainingConfig, load, load_run_config
from lls_decode.emitters import Emitters
from lls_decode.errors import LlsDecodeError
from lls_decode.evaluate import SpikeRows, SpikeScore, match_spikes, read_truth, score_spikes
from lls_decode.localize import SpikeIn, build_localizer
from lls_decode.model.bundle import load_bundle, save_bundle
from lls_decode.models import find_bundle, find_config
from lls_decode.pipelines.cli import main
from lls_decode.pipelines.flows.spike_in import SpikeResult, describe, sample_blocks, spike_in, spiked_emitters
from lls_decode.pipelines.planning.plan import Plan, make_plan
from lls_decode.simulate import Movie, simulate_movie
from tests.pipelines.conftest import World, write_movie

SIDE, FRAMES = 72, 64


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Movie:
    """Simulate a 2-D STORM movie with molecules across the whole field."""
    simulation = load(TrainingConfig, find_config("storm-2d")).simulation
    emitters = simulation.emitters.replace(density_per_um2=0.25, density_spread=0.0)
    config = MovieConfig(
        name="storm",
        simulation=simulation.replace(emitters=emitters),
        num_volumes=FRAMES,
        height=SIDE,
        width=SIDE,
        seed=3,
    )
    return simulate_movie(config, tmp_path_factory.mktemp("storm"))


def run_config(movie: Movie) -> RunConfig:
    return load_run_config(movie.run_config).replace(compute=ComputeConfig(device="cpu", threads=1))


@pytest.fixture(scope="module")
def result(movie: Movie, tmp_path_factory: pytest.TempPathFactory) -> SpikeResult:
    out = tmp_path_factory.mktemp("spiked")
    return spike_in(movie.store, find_bundle("storm-2d"), out, run_config(movie), density_per_um2=0.05)


def true_score(plan: Plan, truth: Emitters) -> SpikeScore:
    """Return the score of the simulated emitters according to their known truth."""
    localizer = build_localizer(plan.bundle_path, plan.config, plan.layout)
    tables = [localizer.run(plan.source.read(block)) for block in plan_blocks(plan.layout, "time", 32)]
    found = [Emitters.from_columns({name: t[name].to_numpy() for name in t.column_names}) for t in tables]
    matches = match_spikes(truth, Emitters.concatenate([]), Emitters.concatenate(found))
    unknown = {axis: np.full(len(truth), np.nan) for axis in "xyz"}
    return score_spikes(SpikeRows(truth, matches.found, matches.is_found, unknown).select(truth.photons >= 50))


def test_spikes_are_found_as_accurately_as_the_simulated_emitters(
    movie: Movie, result: SpikeResult, tmp_path: Path
) -> None:
    plan = make_plan(movie.store, find_bundle("storm-2d"), tmp_path, run_config(movie))
    true, spiked = true_score(plan, read_truth(movie.truth)), result.report.total
    assert true.num_spikes > 1200
    assert spiked.num_spikes > 200
    error = np.hypot(spiked.recall_high - spiked.recall_low, true.recall_high - true.recall_low) / (2 * 1.96)
    assert error < 0.04
    assert abs(spiked.recall - true.recall) < 3 * error
    for axis in "xy":
        one, other = getattr(spiked, f"rmse_{axis}_nm"), getattr(true, f"rmse_{axis}_nm")
        error = np.hypot(getattr(spiked, f"rmse_{axis}_se_nm"), getattr(true, f"rmse_{axis}_se_nm"))
        assert abs(one - other) < 3 * error
        assert getattr(spiked, f"zscore_{axis}") == pytest.approx(getattr(true, f"zscore_{axis}"), rel=0.25)
    assert spiked.photon_ratio == pytest.approx(true.photon_ratio, abs=0.03)


def test_outputs_of_a_spike_in_agree_with_its_report(result: SpikeResult) -> None:
    report, record = result.report, json.loads(result.scores.read_text())
    assert record == json.loads(json.dumps(report.to_dict()))
    assert record["settings"]["frames"] == FRAMES
    assert record["num_before"] > 800
    assert 0 < record["num_lost"] < 0.1 * record["num_before"]
    table = pq.read_table(result.table)
    assert table.num_rows == report.total.num_spikes
    found = table["found"].to_numpy()
    assert found.sum() == report.total.num_found
    errors = table["x_nm_error"].to_numpy()
    assert (np.isfinite(errors) == found).all()
    assert np.sqrt(np.nanmean(errors**2)) == pytest.approx(report.total.rmse_x_nm, rel=1e-4)
    assert (table["photons"].to_numpy() >= 50).all()
    assert len(np.unique(table["id"].to_numpy())) == report.total.num_molecules
    assert result.picture.read_bytes().startswith(b"\x89PNG")
    assert report.where_own is not None
    assert report.where_own.recall == pytest.approx(
        report.total.recall, abs=0.06
    )  # molecules are everywhere, so that both agree
    assert 0.7 < report.total.over_bound_x < 2.0
    assert any(line.startswith("all ") for line in describe(report))


def test_the_same_seed_and_block_give_the_same_spikes(world: World, tmp_path: Path) -> None:
    """Earlier blocks do not influence the spikes."""
    plan = world.plan(tmp_path)
    simulation = spiked_emitters(plan, psf=None, photons=1500.0, density_per_um2=0.3)
    localizer = build_localizer(plan.bundle_path, plan.config, plan.layout)
    done = [
        SpikeIn(localizer, simulation, seed).run(plan.source.read(plan.blocks[number]))
        for seed, number in ((4, 2), (4, 3), (4, 2), (5, 2))
    ]
    one, following, again, another = (part.rows for part in done)
    np.testing.assert_array_equal(one.spikes.x_nm, again.spikes.x_nm)
    np.testing.assert_array_equal(one.is_found, again.is_found)
    for other in (following, another):
        assert len(one) != len(other) or (one.spikes.x_nm != other.spikes.x_nm).any()
    assert np.quantile(one.spikes.photons, 0.9) > 1500  # as requested


def plan_of(layout: Layout, folder: Path, context: str, world: World) -> Plan:
    shape = (layout.num_volumes, layout.planes_per_volume, layout.height, layout.width)
    store = write_movie(folder / f"{context}.zarr", shape if layout.planes_per_volume > 1 else (shape[0], *shape[2:]))
    return make_plan(store, world.bundle(context), folder / "out", RunConfig())


def test_the_sample_is_drawn_over_the_whole_dataset(tmp_path: Path, world: World) -> None:
    plan = plan_of(Layout(640, 1, 16, 20), tmp_path, "time", world)
    blocks = sample_blocks(plan, 128, 0)
    assert [block.num_owned for block in blocks] == [32] * 4
    assert [block.volume_start // 160 for block in blocks] == [0, 1, 2, 3]  # one block from each quarter
    assert sample_blocks(plan, 128, 1) != blocks
    assert sum(block.num_owned for block in sample_blocks(plan, 10_000, 0)) == 640
    volumes = sample_blocks(plan_of(Layout(6, 40, 16, 20), tmp_path, "plane", world), 80, 0)
    assert [(block.plane_start, block.plane_stop) for block in volumes] == [(0, 40)] * 2


def bundle_without_psf(world: World, folder: Path) -> Path:
    bundle = load_bundle(world.bundle())
    path = folder / "unknown.lls"
    save_bundle(path, bundle.network, bundle.info.replace(psf=None))
    return path


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no PSF": ({"model": "unknown"}, r"does not state which PSF it was trained for.*--psf"),
    "absent PSF": ({"psf": "absent.npz"}, r"absent\.npz cannot be read"),
    "other pixels": ({"pixel_size": {"x_nm": 160.0, "y_nm": 160.0}}, r"160 x 160 nm.*trained for 100 x 100 nm"),
    "too few frames": ({"frames": 1, "density_per_um2": 0.001}, r"expected at least 50; raise --frames .*--density"),
}


@pytest.mark.parametrize(("changes", "words"), BAD.values(), ids=BAD.keys())
def test_invalid_requests_are_refused_before_anything_is_computed(
    changes: dict[str, Any], words: str, world: World, tmp_path: Path
) -> None:
    changes = dict(changes)
    model = bundle_without_psf(world, tmp_path) if changes.pop("model", None) else world.bundle()
    pixel = changes.pop("pixel_size", None)
    with pytest.raises(LlsDecodeError, match=words):
        spike_in(world.movie, model, tmp_path / "out", RunConfig(pixel_size=pixel), **changes)
    assert not (tmp_path / "out").exists()


def test_emitters_for_a_model_without_training_record_follow_its_ranges(world: World, tmp_path: Path) -> None:
    """Imported models have no training record. The random weights of this model give a low recall."""
    result = spike_in(world.movie, world.bundle(), tmp_path / "out", RunConfig(), frames=64, density_per_um2=0.1)
    emitters = result.report.settings["emitters"]
    assert (emitters["photons_mean"], emitters["photons_sd"]) == (550.0, 225.0)
    assert result.report.total.recall < 0.6
    assert result.picture.exists()


def type_in(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main(["spike-in", *map(str, words)])
    return end.value.code if isinstance(end.value.code, int) else 0


USAGE: dict[str, tuple[list[str], str]] = {
    "nothing": ([], "Missing argument 'DATASET'"),
    "an additional argument": (
        ["x.zarr", "truth.parquet", "--model", "m.lls", "--out", "o"],
        "unexpected extra argument",
    ),
    "no model": (["x.zarr"], "Missing option '--model'"),
    "no folder": (["x.zarr", "--model", "lls-paint"], "Missing option '--out'"),
    "an option of evaluate": (["x.zarr", "--border-nm", "3"], "No such option"),
}


@pytest.mark.parametrize(("words", "says"), USAGE.values(), ids=USAGE.keys())
def test_bad_usage_of_the_command_is_refused(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert type_in(*words) == 2
    assert says in capsys.readouterr().err


def test_the_command_prints_scores_and_writes_its_outputs(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [world.movie, "--model", world.bundle(), "--out", tmp_path / "out", "--frames", "64"]
    words += ["--density", "0.1", "--set", "compute.threads=1", "--photons", "900", "--seed", "2"]
    assert type_in(*words) == 0
    out = capsys.readouterr().out
    assert "900 ± " in out
    assert "spike_in.png" in out
    assert (tmp_path / "out" / "spike_in.json").exists()
    assert type_in(*words, "--json") == 0
    assert json.loads(capsys.readouterr().out)["settings"]["seed"] == 2
