"""Light outside of what a model was trained for is said in words before a run."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lls_decode.config import EmccdCamera, RunConfig, ScmosCamera
from lls_decode.optics import build_camera
from lls_decode.pipelines.planning.light_range import to_photons
from lls_decode.pipelines.planning.plan import make_plan
from tests.pipelines.conftest import CAMERA, World


@pytest.mark.parametrize(("offset", "noted"), [(100, False), (60, False), (40, True), (119.9, True)])
def test_background_outside_the_training_range_is_a_note(
    offset: float, noted: bool, world: World, tmp_path: Path
) -> None:
    """The movie has 20 photons over an offset of 100, the model was trained for 1 to 50."""
    config = RunConfig(camera=CAMERA.replace(offset_adu=offset))
    notes = make_plan(world.movie, world.bundle(), tmp_path, config).notes
    assert any("trained for 1 to 50" in note for note in notes) == noted


CAMERAS = {
    "sCMOS": ScmosCamera(offset_adu=100, gain_adu_per_e=2, variance_adu2=2, quantum_efficiency=0.8),
    "EMCCD": EmccdCamera(
        baseline_adu=100, e_per_adu=45, em_gain=300, read_sigma_e=74, spurious_e=0.002, quantum_efficiency=0.9
    ),
}


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS.keys())
def test_photons_are_those_of_the_engine(camera: ScmosCamera | EmccdCamera) -> None:
    adu = np.random.default_rng(0).integers(0, 4000, (2, 5, 6)).astype(np.uint16)
    engine = build_camera(camera, 5, 6).to_photons(torch.from_numpy(adu)).numpy()
    np.testing.assert_allclose(to_photons(camera, adu), engine, rtol=1e-5, atol=1e-4)
