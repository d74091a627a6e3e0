"""Single values of a configuration are changed by dotted key."""

from typing import Any

import pytest

from lls_decode.config import RunConfig, ScmosCamera, change
from lls_decode.errors import ConfigError


def test_a_section_that_is_absent_can_be_set_key_by_key() -> None:
    """Messages advise to set camera.kind or geometry.motion, which a run configuration does not have by default."""
    camera = {
        "camera.offset_adu": 100,
        "camera.gain_adu_per_e": 2.0,
        "camera.variance_adu2": 3.0,
        "camera.kind": "scmos",
    }
    found = change(RunConfig(), camera, source="--set")
    assert found.camera == ScmosCamera(offset_adu=100, gain_adu_per_e=2.0, variance_adu2=3.0)
    assert change(found, {"camera.offset_adu": 90}, source="--set").camera == found.camera.replace(offset_adu=90)
    moved = change(RunConfig(), {"geometry.motion": "objective", "geometry.stage_step_nm": 200}, source="--set")
    assert moved.geometry is not None
    assert moved.geometry.stage_step_nm == 200


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param(
            {"camera.offset_adu": 100}, "--set: camera: kind is None, expected one of emccd, scmos", id="kind"
        ),
        pytest.param({"geometry.motion": "stage"}, "--set: geometry.stage_step_nm: Field required", id="missing"),
        pytest.param({"compute.device.x": 1}, "'device' is a single value without keys", id="a single value"),
        pytest.param(
            {"compute.threads.x": 1}, "--set: compute.threads: Input should be a valid integer", id="a number"
        ),
    ],
)
def test_impossible_changes_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        change(RunConfig(), changes, source="--set")
