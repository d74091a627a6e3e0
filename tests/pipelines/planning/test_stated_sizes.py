"""Sizes stated in a dataset must agree with the configuration and the model, unless the user overrides them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lls_decode.axes import Layout
from lls_decode.config import Geometry, PixelSize, change
from lls_decode.errors import BundleError, ConfigError, LlsDecodeError
from lls_decode.frames import create_store, open_source
from lls_decode.model.info import read_bundle_info
from lls_decode.pipelines.planning.plan import Plan, make_plan
from tests.pipelines.conftest import HEIGHT, WIDTH, World, run_config, stage_scan

SQUARE = PixelSize(x_nm=100, y_nm=100)
SCAN = stage_scan(3.27)
"""Geometry of the model: an angle of 60 degrees and a step of 654 nm, which is 566 nm along z."""
OBJECTIVE = Geometry(motion="objective", stage_step_nm=300)


def dataset(path: Path, planes: int = 5, **sizes: Any) -> Path:
    array = create_store(path, Layout(4, planes, HEIGHT, WIDTH), **sizes)
    array[...] = np.random.default_rng(0).poisson(20, array.shape).astype("uint16") + 100
    return path


def plan(world: World, path: Path, bundle: str = "plane", **changes: Any) -> Plan:
    return make_plan(path, world.bundle(bundle), path.parent / "out", run_config(5, **changes))


AGREE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "all three": ({"pixel_size": SQUARE, "z_step_nm": 654, "angle_deg": 60}, {}),
    "step along z": ({"z_step_nm": 566.4}, {}),
    "within 2 %": ({"pixel_size": PixelSize(x_nm=101, y_nm=99), "z_step_nm": 660, "angle_deg": 60.5}, {}),
    "also in the configuration": ({"pixel_size": SQUARE, "z_step_nm": 654}, {"pixel_size": SQUARE, "geometry": SCAN}),
    "no sizes": ({}, {"pixel_size": SQUARE, "geometry": SCAN}),
}


@pytest.mark.parametrize(("sizes", "changes"), AGREE.values(), ids=AGREE)
def test_sizes_that_agree_are_accepted_without_a_note(
    sizes: dict[str, Any], changes: dict[str, Any], world: World, tmp_path: Path
) -> None:
    source = open_source(dataset(tmp_path / "a.zarr", **sizes))
    assert source.angle_deg == sizes.get("angle_deg")
    found = plan(world, tmp_path / "a.zarr", **changes)
    assert found.config.geometry == SCAN
    assert not any("although the dataset states" in note for note in found.notes)


MODEL = {
    "pixel": ({"pixel_size": PixelSize(x_nm=100, y_nm=108)}, "pixels of 100 x 108 nm .* trained for 100 x 100 nm"),
    "step": (
        {"z_step_nm": 400},
        r"z step of 400 nm, but model plane was trained for a step of 654 nm \(566.4 nm along z\)",
    ),
    "angle": ({"angle_deg": 31.8}, "scan angle of 31.8 deg, but model plane was trained for an angle of 60 deg"),
    "both": (
        {"z_step_nm": 400, "angle_deg": 31.8},
        "400 nm and scan angle of 31.8 deg, .*654 nm .* and an angle of 60",
    ),
}
TOLD: dict[str, dict[str, Any]] = {"pixel_size": {"x_nm": 100, "y_nm": 100}, "geometry": SCAN.to_dict()}


@pytest.mark.parametrize(("sizes", "words"), MODEL.values(), ids=MODEL)
def test_a_model_for_another_size_is_refused_and_the_advice_works(
    sizes: dict[str, Any], words: str, world: World, tmp_path: Path
) -> None:
    path = dataset(tmp_path / "a.zarr", **sizes)
    with pytest.raises(BundleError, match=words) as caught:
        plan(world, path)
    follow_advice(world, path, caught.value)


def follow_advice(world: World, path: Path, error: LlsDecodeError) -> None:
    """Set the key that the message names.

    The key alone contradicts the dataset and is refused; together with ``input.trust`` it takes effect.
    """
    (key,) = re.findall(r"set (pixel_size|geometry)\b", str(error))
    (trust,) = re.findall(r"input\.trust=(\w+)", str(error))
    told = {key: TOLD[key]}
    with pytest.raises(ConfigError, match=r"correct .* or set input\.trust=configuration if the dataset is wrong"):
        plan(world, path, **told)
    found = plan(world, path, **told, input={"trust": trust})
    assert (found.config.pixel_size, found.config.geometry) == (SQUARE, SCAN)
    assert sum("from the configuration, although the dataset states" in note for note in found.notes) == 1


SAID = {"geometry": SCAN.to_dict()}
OTHERS = {
    "pixel": (
        {"pixel_size": SQUARE},
        {"pixel_size": {"x_nm": 100, "y_nm": 103}},
        "pixels of 100 x 100 nm .* the configuration 100 x 103 nm",
    ),
    "step": ({"z_step_nm": 700}, SAID, "z step of 700 nm, but the configuration a step of 654"),
    "angle": ({"angle_deg": 57}, SAID, "angle of 57 deg, but the configuration an angle of 60"),
    "objective": (
        {"z_step_nm": 200},
        {"geometry": OBJECTIVE.to_dict()},
        "z step of 200 nm, but the configuration a step of 300",
    ),
}


@pytest.mark.parametrize(("sizes", "changes", "words"), OTHERS.values(), ids=OTHERS)
def test_a_configuration_that_contradicts_the_dataset_is_refused(
    sizes: dict[str, Any], changes: dict[str, Any], words: str, world: World, tmp_path: Path
) -> None:
    """The check does not depend on the model: a model with context in time has no geometry."""
    path = dataset(tmp_path / "a.zarr", **sizes)
    with pytest.raises(ConfigError, match=words) as caught:
        plan(world, path, "time", **changes)
    assert "input.trust=configuration" in str(caught.value)


def test_the_geometry_of_a_movie_is_not_checked(world: World, tmp_path: Path) -> None:
    path = dataset(tmp_path / "a.zarr", planes=1, angle_deg=31.8)
    assert plan(world, path, "time", geometry=SCAN).config.geometry == SCAN


STEEP = stage_scan(3.27).replace(angle_deg=30, stage_step_nm=327 / np.cos(np.radians(30)))
"""Geometry with the plane-to-plane shift of the model, but with a third of its step along z."""


def test_another_z_step_than_in_training_is_noted_or_refused(world: World, tmp_path: Path) -> None:
    """The step is refused if the dataset states it, too; otherwise it is noted, because the user may know better."""
    silent, telling = dataset(tmp_path / "a.zarr"), dataset(tmp_path / "b.zarr", z_step_nm=STEEP.stage_step_nm)
    words = r"planes move by 188\.8 nm along z, but model plane was trained for 566\.4 nm"
    assert any(re.search(words, note) for note in plan(world, silent, geometry=STEEP).notes)
    with pytest.raises(BundleError, match=words):
        plan(world, telling, geometry=STEEP)
    found = plan(world, telling, geometry=SCAN, input={"trust": "configuration"})
    assert found.config.geometry == SCAN
    near = stage_scan(3.1)
    assert (
        plan(world, dataset(tmp_path / "c.zarr", z_step_nm=near.stage_step_nm), geometry=near).config.geometry == near
    )


def test_trust_does_not_change_the_run_digest(world: World, tmp_path: Path) -> None:
    path = dataset(tmp_path / "a.zarr", pixel_size=SQUARE)
    before = plan(world, path)
    trusting = change(before.config, {"input.trust": "configuration"}, source="test")
    assert make_plan(path, world.bundle("plane"), tmp_path / "out", trusting).run_digest == before.run_digest
    assert read_bundle_info(world.bundle("plane")).geometry == SCAN
