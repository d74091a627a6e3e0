"""Checks of the light before a run: light outside the training range is noted, and impossible light is refused."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
import zarr

from lls_decode.config import EmccdCamera, PartConfig, RunConfig, ScmosCamera, TrainingConfig, load, parse
from lls_decode.errors import BundleError
from lls_decode.models import find_bundle, find_config
from lls_decode.pipelines.planning.plan import Plan, make_plan
from lls_decode.simulate import simulate_frames
from tests.pipelines.conftest import CAMERA, World

STORM = ScmosCamera(offset_adu=90.0, gain_adu_per_e=2.1, variance_adu2=5.7)
EMCCD = EmccdCamera(baseline_adu=200.0, e_per_adu=25.0, em_gain=100.0, read_sigma_e=20.0)
NUM_FRAMES = 12


@pytest.mark.parametrize(("offset", "noted"), [(100, False), (60, False), (40, True), (119.9, True)])
def test_background_outside_the_training_range_is_noted(
    offset: float, noted: bool, world: World, tmp_path: Path
) -> None:
    """The movie has 20 photons of background above an offset of 100, and the model was trained for 1 to 50."""
    config = RunConfig(camera=CAMERA.replace(offset_adu=offset))
    notes = make_plan(world.movie, world.bundle(), tmp_path, config).notes
    assert any("trained for 1 to 50" in note for note in notes) == noted


def counts(camera: ScmosCamera | EmccdCamera = STORM, *, bg: float = 12.0) -> np.ndarray:
    """Return simulated camera counts of emitters that storm-2d was trained for, above a given background."""
    config = load(TrainingConfig, find_config("storm-2d")).simulation
    config = config.replace(camera=camera, background=config.background.replace(low=bg, high=bg))
    made = simulate_frames(
        config,
        num_sequences=1,
        num_frames=NUM_FRAMES,
        height=64,
        width=64,
        generator=torch.Generator().manual_seed(0),
    )
    none, one = (made.camera.to_photons(torch.tensor(count)) for count in (0, 1))
    adu = (made.photons_STYX[0] - none) / (one - none)  # invert the conversion to photons
    return adu.round().clip(0, 65535).numpy().astype(np.uint16)


def plan(adu_TYX: np.ndarray, folder: Path, camera: Any = STORM, *, force: bool = False, **changes: Any) -> Plan:
    array = zarr.create_array(
        folder / "movie.zarr",
        shape=adu_TYX.shape,
        dtype=adu_TYX.dtype,
        chunks=(4, *adu_TYX.shape[1:]),
        dimension_names=["t", "y", "x"],
        overwrite=True,
    )
    array[:] = adu_TYX
    config = RunConfig(camera=camera, **changes)
    return make_plan(folder / "movie.zarr", find_bundle("storm-2d"), folder / "out", config, force=force)


IMPOSSIBLE: dict[str, tuple[Callable[[], np.ndarray], ScmosCamera | EmccdCamera, str]] = {
    "offset forgotten": (counts, STORM.replace(offset_adu=0), r"offset_adu is too low, .* fits offset_adu (8|9)\d:"),
    "offset doubled": (counts, STORM.replace(offset_adu=180), r"offset_adu is too high, .* fits offset_adu (8|9)\d:"),
    "offset of another camera": (counts, STORM.replace(offset_adu=400), r"is -1\d\d photons .*offset_adu is too high"),
    "gain far too low": (counts, STORM.replace(gain_adu_per_e=0.02), "gain is too low"),
    "photons": (lambda: ((counts() - 90.0) / 2.1).astype(np.float32), STORM, "photons or otherwise processed"),
    "whole photons": (lambda: np.round((counts() - 90.0) / 2.1).clip(0).astype(np.uint16), STORM, "converted already"),
    "32768 subtracted": (lambda: (counts().astype(int) - 32768).astype(np.int16), STORM, "exported as signed"),
    "32768 added": (lambda: (counts() + 32768).astype(np.uint16), STORM, "32768 was added"),
    "bright pixels wrapped": (
        lambda: np.where(np.indices(counts().shape).sum(0) % 97 == 0, 40000, counts()).astype(np.uint16).view(np.int16),
        STORM,
        "have pixels of -25536 counts .*wrapped around",
    ),
    "background subtracted": (lambda: counts().astype(np.int32) - 400, STORM, "a background was subtracted"),
    "swapped bytes": (lambda: counts().byteswap(), STORM, "wrong byte order"),
    "swapped bytes, of a bright movie": (lambda: (counts() * 11).byteswap(), STORM, "wrong byte order"),
    "very bright": (lambda: counts(bg=700.0), STORM, "train a model for this background"),
    "EMCCD, baseline forgotten": (
        lambda: counts(EMCCD), EMCCD.replace(baseline_adu=0), r"baseline_adu is too low, .* baseline_adu (19|20)\d:"
    ),
    "EMCCD, baseline doubled": (lambda: counts(EMCCD), EMCCD.replace(baseline_adu=600), "baseline_adu is too high"),
}  # fmt: skip


@pytest.mark.parametrize(("adu", "camera", "words"), IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_impossible_light_is_refused_with_its_probable_cause(
    adu: Callable[[], np.ndarray], camera: ScmosCamera | EmccdCamera, words: str, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        plan(adu(), tmp_path, camera)
    assert "storm-2d was trained for 4 to 30" in str(caught.value)
    assert caught.value.exit_status == 2
    assert any(re.search(words, note) for note in plan(adu(), tmp_path, camera, force=True).notes)


POSSIBLE: dict[str, tuple[Callable[[], np.ndarray], ScmosCamera | EmccdCamera]] = {
    "as trained": (counts, STORM),
    "no light": (lambda: counts(bg=0.0), STORM),
    "offset a little too high": (lambda: counts(bg=0.0), STORM.replace(offset_adu=91.5)),
    "twice as bright": (lambda: counts(bg=70.0), STORM),
    "seven times as bright": (lambda: counts(bg=200.0), STORM),
    "EMCCD": (lambda: counts(EMCCD), EMCCD),
    "EMCCD, dark": (lambda: counts(EMCCD, bg=0.1), EMCCD),
    "signed type": (lambda: counts().astype(np.int16), STORM),
    "whole numbers in floats": (lambda: counts().astype(np.float32), STORM),
    "most pixels not recorded": (lambda: counts() * (np.arange(64) > 40).astype(np.uint16), STORM),
    "nothing recorded": (lambda: 0 * counts(), STORM),
}


@pytest.mark.parametrize(("adu", "camera"), POSSIBLE.values(), ids=POSSIBLE.keys())
def test_possible_light_is_accepted(
    adu: Callable[[], np.ndarray], camera: ScmosCamera | EmccdCamera, tmp_path: Path
) -> None:
    assert plan(adu(), tmp_path, camera).blocks


def test_the_advice_of_the_messages_works(tmp_path: Path) -> None:
    """Planning succeeds with the offset, and with the camera for photons, that the messages name."""
    with pytest.raises(BundleError) as caught:
        plan(counts(), tmp_path, STORM.replace(offset_adu=180))
    named = re.search(r"fits offset_adu (\d+)", str(caught.value))
    assert named is not None
    assert plan(counts(), tmp_path, STORM.replace(offset_adu=float(named[1]))).blocks

    photons = ((counts() - 90.0) / 2.1).astype(np.float32)
    with pytest.raises(BundleError) as caught:
        plan(photons, tmp_path)
    told = re.search(r"camera: (\{.*?\})", str(caught.value))
    assert told is not None
    camera = parse(RunConfig, {"camera": yaml.safe_load(told[1])}, source="advice").camera
    made = plan(photons, tmp_path, camera)
    assert not any("trained for" in note for note in made.notes)


def test_the_message_says_when_the_camera_comes_from_the_model(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no camera was given, so that of the model is used"):
        plan(counts(STORM.replace(offset_adu=400)) * 0 + 40, tmp_path, None)


def test_only_frames_of_the_part_are_checked(tmp_path: Path) -> None:
    """Frames outside the part of the run are ignored."""
    adu = counts()
    adu[: NUM_FRAMES // 2] = 20  # shutter closed and amplifier off
    with pytest.raises(BundleError, match="offset_adu is too high"):
        plan(adu, tmp_path)
    assert plan(adu, tmp_path, part=PartConfig(volumes=(NUM_FRAMES // 2, None))).blocks


def test_unreadable_frames_do_not_prevent_the_check_of_the_others(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="offset_adu is too high"):
        plan(counts(), tmp_path, STORM.replace(offset_adu=180))
    first = (
        next((tmp_path / "movie.zarr" / "c").rglob("0/0/0"), None) or tmp_path / "movie.zarr" / "c" / "0" / "0" / "0"
    )
    first.write_bytes(b"damaged")
    config = RunConfig(camera=STORM.replace(offset_adu=180))
    with pytest.raises(BundleError, match="offset_adu is too high"):
        make_plan(tmp_path / "movie.zarr", find_bundle("storm-2d"), tmp_path / "out", config)


@pytest.mark.parametrize("part", [PartConfig(), PartConfig(volumes=(0, 8))])
def test_the_light_is_compared_although_the_last_frames_were_never_written(part: PartConfig, tmp_path: Path) -> None:
    """A preallocated array has no chunks for frames that the acquisition did not reach."""
    camera = STORM.replace(gain_adu_per_e=21.0)
    plan(counts(), tmp_path)
    for chunk in sorted((tmp_path / "movie.zarr" / "c").iterdir())[2:]:
        shutil.rmtree(chunk)
    config = RunConfig(camera=camera, part=part)
    notes = make_plan(tmp_path / "movie.zarr", find_bundle("storm-2d"), tmp_path / "out", config).notes
    assert any("check the camera's offset and gain" in note for note in notes)
    assert not any("could not be compared" in note for note in notes)
