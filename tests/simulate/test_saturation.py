"""A simulated camera saturates at 65535 counts, which is logged."""

from pathlib import Path

import pytest
import zarr

from lls_decode.config import EmccdCamera, MovieConfig, TrainingConfig, load
from lls_decode.models import find_config
from lls_decode.simulate import simulate_movie


@pytest.mark.parametrize(("em_gain", "saturates"), [(1000.0, True), (10.0, False)])
def test_saturated_pixels_are_counted_in_a_warning(
    em_gain: float, saturates: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    simulation = load(TrainingConfig, find_config("storm-2d")).simulation
    camera = EmccdCamera(baseline_adu=100, e_per_adu=1.0, em_gain=em_gain, read_sigma_e=20)
    simulation = simulation.replace(camera=camera)
    movie = simulate_movie(MovieConfig(name="m", simulation=simulation, num_volumes=4, height=32, width=32), tmp_path)
    counts = zarr.open_array(str(movie.store), path="0", mode="r")[:]
    assert (counts.max() == 65_535) == saturates
    warnings = [line for line in caplog.messages if "are saturated" in line]
    assert len(warnings) == saturates
    assert not warnings or warnings[0].startswith(
        f"{(counts == 65_535).sum()} pixels would have more than 65535 counts"
    )
