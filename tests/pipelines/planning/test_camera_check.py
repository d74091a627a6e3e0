"""Light outside of what a model was trained for is said in words before a run."""

from pathlib import Path

import pytest

from lls_decode.config import RunConfig
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
