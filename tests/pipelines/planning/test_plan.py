"""A plan fills in settings that the user left open, refuses invalid combinations, and identifies runs by a digest."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from lls_decode.config import Camera, DetectionThresholds, EmccdCamera, PixelSize, ScmosCamera
from lls_decode.errors import BundleError, ConfigError, InputError, LlsDecodeError, OutputError, PlanError
from lls_decode.model.bundle import load_bundle, save_bundle
from lls_decode.pipelines.planning.plan import differences, make_plan
from tests.pipelines.conftest import CAMERA, HEIGHT, WIDTH, World, run_config, stage_scan, write_bundle, write_movie


@pytest.fixture(scope="module")
def sweeps(world: World) -> Path:
    """Write a dataset of four volumes of five planes."""
    return write_movie(world.folder / "sweeps.zarr", (4, 5, HEIGHT, WIDTH))


@pytest.fixture(scope="module")
def tiny(world: World) -> Path:
    return write_movie(world.folder / "tiny.zarr", (4, 12, 64))


def camera_map(path: Path, shape: tuple[int, int], value: float = 1.0) -> str:
    np.save(path, np.full(shape, value, dtype=np.float32))
    return str(path)


REFUSED: dict[str, tuple[str, dict[str, Any], type[LlsDecodeError], str]] = {
    "pixels of another size": ("movie", {"pixel_size": PixelSize(x_nm=100, y_nm=103)}, BundleError, "100 x 103 nm"),
    "a frame smaller than the network": ("tiny", {}, InputError, "12 x 64 pixels"),
    "a model for planes, a dataset without": ("movie", {"bundle": "plane"}, BundleError, "one plane per volume"),
    "another plane-to-plane shift": (
        "sweeps",
        {"bundle": "plane", "geometry": stage_scan(5.0)},
        BundleError,
        "shift by 5.00 px along x",
    ),
    "the shift along the other axis": (
        "sweeps",
        {"bundle": "plane", "geometry": stage_scan(3.2, propagation_axis="y")},
        BundleError,
        "along y",
    ),
    "the stage running backwards": (
        "sweeps",
        {"bundle": "plane", "geometry": stage_scan(3.27, scan_direction=-1)},
        BundleError,
        "-3.27 px",
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_invalid_combinations_are_refused(
    case: tuple[str, dict[str, Any], type[LlsDecodeError], str], world: World, sweeps: Path, tiny: Path, tmp_path: Path
) -> None:
    name, changes, error, words = case
    bundle = world.bundle(changes.get("bundle", "time"))
    config = run_config(8, **{key: value for key, value in changes.items() if key != "bundle"})
    dataset = {"movie": world.movie, "sweeps": sweeps, "tiny": tiny}[name]
    with pytest.raises(error, match=words):
        make_plan(dataset, bundle, tmp_path / "out", config)


@pytest.mark.parametrize(
    ("shape", "value", "words"),
    [
        ((WIDTH, HEIGHT), 1.0, rf"shape \({WIDTH}, {HEIGHT}\), but frames have \({HEIGHT}, {WIDTH}\)"),
        ((HEIGHT, WIDTH), np.nan, "holds NaN or infinite values"),
        ((HEIGHT, WIDTH), 0.0, "above 0"),
    ],
    ids=["of another shape", "with NaN", "with a gain of zero"],
)
def test_invalid_camera_map_is_refused(
    shape: tuple[int, int], value: float, words: str, world: World, tmp_path: Path
) -> None:
    camera = CAMERA.replace(gain_adu_per_e=camera_map(tmp_path / "gain.npy", shape, value))
    with pytest.raises(ConfigError, match=words):
        world.plan(tmp_path / "out", camera=camera)


def test_absent_camera_map_is_refused_with_its_path(world: World, tmp_path: Path) -> None:
    camera = CAMERA.replace(variance_adu2=str(tmp_path / "nowhere.npy"))
    with pytest.raises(ConfigError, match=r"camera\.variance_adu2: map .*nowhere\.npy"):
        world.plan(tmp_path / "out", camera=camera)


def test_models_with_a_noise_map_need_the_variance_map_of_an_scmos_camera(world: World, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "noise.lls", context="time", noise_map=True)

    def notes(camera: Camera) -> str:
        return "\n".join(make_plan(world.movie, bundle, tmp_path / "out", run_config(8, camera=camera)).notes)

    assert "camera.variance_adu2 is one number for all" in notes(CAMERA)
    variance = camera_map(tmp_path / "variance.npy", (HEIGHT, WIDTH), 4.0)
    assert "read noise" not in notes(CAMERA.replace(variance_adu2=variance))
    assert "read noise" not in "\n".join(world.plan(tmp_path / "out").notes), "other models do not need a map"
    emccd = EmccdCamera(baseline_adu=100.0, e_per_adu=45.0, em_gain=300.0, read_sigma_e=74.4)
    with pytest.raises(
        BundleError, match="read noise of each pixel of an sCMOS camera, but the camera of the run is emccd"
    ):
        notes(emccd)


def test_settings_taken_from_the_model_are_noted(world: World, sweeps: Path, tmp_path: Path) -> None:
    plan = make_plan(sweeps, world.bundle("plane"), tmp_path / "out", run_config(5))
    assert plan.config.camera == CAMERA
    assert plan.config.pixel_size == PixelSize(x_nm=100, y_nm=100)
    assert plan.config.geometry == stage_scan(3.27)
    for words in (
        "camera from the model bundle",
        "pixel size 100 x 100 nm .* from the model",
        "geometry from the model",
    ):
        assert any(re.search(words, note) for note in plan.notes), plan.notes
    text = "\n".join(plan.describe())
    assert "plane-to-plane shift = 3.27 px along x" in text
    assert "4 volumes x 5 planes of 40 x 48 pixels (y, x), uint16: 20 frames" in text
    assert "4 of at most 5 frames" in text
    assert not (tmp_path / "out").exists()


def test_subpixel_difference_of_the_shift_is_noted(world: World, sweeps: Path, tmp_path: Path) -> None:
    plan = make_plan(sweeps, world.bundle("plane"), tmp_path / "out", run_config(5, geometry=stage_scan(2.8)))
    assert "planes shift by 2.80 px, but the model was trained for 3.27 px" in plan.notes


def with_thresholds(path: Path, out: Path) -> Path:
    """Write a copy of a bundle that has detection thresholds."""
    bundle = load_bundle(path)
    found = DetectionThresholds(candidate=0.1, confident=0.5, accept=0.45)
    save_bundle(out, bundle.network, bundle.info.replace(detection=found))
    return out


@pytest.mark.parametrize(
    ("detection", "plain", "chosen", "missing"),
    [
        pytest.param({}, (0.3, 0.6, 0.7), (0.1, 0.5, 0.45), "candidate 0.3, confident 0.6, accept 0.7", id="default"),
        pytest.param({"accept": 0.5}, (0.3, 0.6, 0.5), (0.1, 0.5, 0.5), "candidate 0.3, confident 0.6", id="accept"),
        pytest.param(
            {"accept": 0.5, "candidate": 0.2, "confident": 0.9}, (0.2, 0.9, 0.5), (0.2, 0.9, 0.5), "", id="all given"
        ),
        pytest.param({"rule": "paper"}, (0.3, 0.6, 0.7), (0.3, 0.6, 0.7), "", id="paper"),
        pytest.param({"rule": "authors"}, None, None, "", id="authors"),
    ],
)
def test_published_thresholds_are_used_only_where_neither_user_nor_model_gives_any_and_are_noted(
    detection: dict[str, Any], plain: Any, chosen: Any, missing: str, world: World, tmp_path: Path
) -> None:
    with_own = with_thresholds(world.bundle(), tmp_path / "own.lls")
    config = {**run_config(8).to_dict(), "detection": detection}
    for bundle, expected, noted in ((world.bundle(), plain, missing), (with_own, chosen, "")):
        plan = make_plan(world.movie, bundle, tmp_path / "out", config)
        assert getattr(plan.config.detection, "thresholds", None) == expected
        notes = [note for note in plan.notes if "thresholds" in note]
        assert len(notes) == bool(noted), notes
        assert not noted or f"published ones are used ({noted});" in notes[0]


def test_the_advice_on_missing_thresholds_is_a_command_for_this_model(world: World, tmp_path: Path) -> None:
    bundle = tmp_path / "my model.lls"
    bundle.write_bytes(world.bundle().read_bytes())
    (note,) = [note for note in make_plan(world.movie, bundle, tmp_path / "out", run_config(8)).notes if "find" in note]
    command = re.search(r"'(lls-decode [^']*)'", note)
    assert command is not None
    assert shlex.split(command[1])[1:] == ["model", "recalibrate", str(bundle), "--out", "my model-recalibrated.lls"]


SAME_ROWS: dict[str, dict[str, Any]] = {
    "threads and batches": {
        "compute": {"device": "cpu", "dtype": "float32", "threads": 2, "batch_px": 5000, "tile_px": 16}
    },
    "retries": {"execution": {"block_frames": 16, "retries": 7, "block_timeout_s": 5.0, "in_flight_per_worker": 1}},
}
OTHER_ROWS: dict[str, dict[str, Any]] = {
    "detection": {"detection": {"accept": 0.6}},
    "precision": {"compute": {"dtype": "bfloat16"}},
    "blocks": {"execution": {"block_frames": 15}},
    "camera": {"camera": {"kind": "scmos", "offset_adu": 99, "gain_adu_per_e": 1, "variance_adu2": 2}},
    "mapping": {"input": {"planes_per_volume": 4}},
}


@pytest.mark.parametrize("changes", SAME_ROWS.values(), ids=SAME_ROWS.keys())
def test_run_digest_ignores_settings_that_do_not_change_the_table(
    changes: dict[str, Any], world: World, tmp_path: Path
) -> None:
    plan = world.plan(tmp_path / "a")
    other = make_plan(world.movie, world.bundle(), tmp_path / "b", plan.config.replace(**changes))
    assert other.run_digest == plan.run_digest


@pytest.mark.parametrize("changes", OTHER_ROWS.values(), ids=OTHER_ROWS.keys())
def test_run_digest_depends_on_settings_that_change_the_table(
    changes: dict[str, Any], world: World, tmp_path: Path
) -> None:
    plan = world.plan(tmp_path / "a")
    other = make_plan(world.movie, world.bundle(), tmp_path / "b", plan.config.replace(**changes))
    assert other.run_digest != plan.run_digest


def test_run_digest_depends_on_the_content_of_camera_maps_and_not_on_their_path(world: World, tmp_path: Path) -> None:
    def plan(name: str, value: float) -> str:
        camera = CAMERA.replace(offset_adu=camera_map(tmp_path / name, (HEIGHT, WIDTH), value))
        return world.plan(tmp_path / "out", camera=camera).run_digest

    assert plan("one.npy", 100) == plan("two.npy", 100) != plan("three.npy", 101)


def test_differences_of_configurations_are_described() -> None:
    old = {"config": {"detection": {"accept": 0.7, "rule": "paper"}, "camera": {"kind": "emccd"}}, "model": "aa"}
    new = {"config": {"detection": {"accept": 0.6, "rule": "paper"}, "camera": None}, "model": "aa"}
    assert differences(old, new) == [
        "camera: (absent) -> None",
        "camera.kind: emccd -> (absent)",
        "detection.accept: 0.7 -> 0.6",
    ]


def test_blocks_that_do_not_fit_into_memory_are_refused(world: World, tmp_path: Path) -> None:
    plan = world.plan(tmp_path / "out")
    plan.check_memory(plan.worker_bytes)
    plan.check_memory(0)  # a worker without a limit
    with pytest.raises(PlanError, match=r"execution\.block_frames"):
        plan.check_memory(plan.worker_bytes - 1)


def test_bytes_to_read_include_context_frames(world: World, tmp_path: Path) -> None:
    plan = world.plan(tmp_path / "out", block_frames=50)  # 50 + 1, 1 + 50 + 1, 1 + 20 frames
    assert plan.read_bytes == (51 + 52 + 21) * HEIGHT * WIDTH * 2


def test_relative_camera_maps_are_made_absolute(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    camera_map(tmp_path / "offset.npy", (HEIGHT, WIDTH), 100)
    monkeypatch.chdir(tmp_path)
    camera = world.plan(tmp_path / "out", camera=CAMERA.replace(offset_adu="offset.npy")).config.camera
    assert isinstance(camera, ScmosCamera)
    assert camera.offset_adu == str(tmp_path / "offset.npy")


def test_planning_and_status_need_no_torch() -> None:
    program = (
        "import sys\n"
        "import lls_decode.pipelines.planning.plan, lls_decode.pipelines.running.run\n"
        "import lls_decode.pipelines.status.reader\n"
        "import lls_decode.pipelines.status.progress, lls_decode.cluster.site\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.fixture(scope="module")
def volumes(world: World) -> Path:
    """Write a folder with three stores of one volume each, and a link to it."""
    for number in range(3):
        write_volume(world.folder / "volumes" / f"v{number}.zarr")
    (world.folder / "link").symlink_to("volumes")
    return world.folder / "volumes"


def write_volume(path: Path) -> None:
    names = ("z", "y", "x")
    shape = (8, HEIGHT, WIDTH)
    zarr.create_array(path, shape=shape, chunks=shape, dtype="u2", dimension_names=names)[:] = 100


@pytest.mark.parametrize("dataset", ["volumes/*.zarr", "link/*.zarr", "vol*/v*.zarr", "volumes", "link/"])
@pytest.mark.parametrize("out", ["volumes", "link", "volumes/.", "link/../volumes", "volumes/v0.zarr/out"])
def test_run_folders_among_the_stores_of_a_dataset_are_refused(
    dataset: str, out: str, world: World, volumes: Path
) -> None:
    with pytest.raises(OutputError, match="results are never written"):
        world.plan(world.folder / out, dataset=world.folder / dataset)


def test_run_folders_that_a_pattern_would_match_are_refused(world: World, volumes: Path) -> None:
    with pytest.raises(OutputError, match="would be taken for one of them"):
        world.plan(volumes / "out.zarr", dataset=volumes / "*.zarr")
    for out in (volumes / "out", world.folder / "out.zarr"):
        assert world.plan(out, dataset=volumes / "*.zarr").out == out
