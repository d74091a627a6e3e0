"""16-bit arithmetic changes few detections of the demo movie, for the shipped and the light model."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lls_decode.blocks import plan_blocks
from lls_decode.config import ComputeConfig, MovieConfig, load, load_run_config
from lls_decode.emitters import Emitters
from lls_decode.evaluate import match
from lls_decode.frames import open_source
from lls_decode.localize import build_localizer
from lls_decode.models import find_bundle, find_config
from lls_decode.simulate import Movie, simulate_movie

BLOCK_FRAMES = 64
LIGHT = Path(__file__).resolve().parents[2] / "benchmarks" / "accuracy" / "light.lls"


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Movie:
    config = load(MovieConfig, find_config("demo-movie")).replace(num_volumes=4)
    return simulate_movie(config, tmp_path_factory.mktemp("movie"))


def localize(movie: Movie, model: str, dtype: str, blocks: slice) -> Emitters:
    source = open_source(movie.store)
    config = load_run_config(movie.run_config).replace(compute=ComputeConfig(device="cpu", dtype=dtype))
    localizer = build_localizer(find_bundle(model), config, source.layout)
    tables = [localizer.run(source.read(b)) for b in plan_blocks(source.layout, "plane", BLOCK_FRAMES)[blocks]]
    table = pa.concat_tables(tables)
    return Emitters.from_columns({name: table[name].to_numpy() for name in table.column_names})


@pytest.mark.parametrize(
    ("model", "dtype", "blocks", "jaccard"),
    [
        pytest.param("lls-paint", "bfloat16", slice(None), 0.995, id="bfloat16"),
        pytest.param(str(LIGHT), "bfloat16", slice(None), 0.995, id="light network, bfloat16"),
        # CPUs without float16 arithmetic emulate it slowly, hence fewer frames
        pytest.param("lls-paint", "float16", slice(1), 0.998, id="float16"),
    ],
)
def test_16_bit_detections_are_nearly_those_of_float32(
    movie: Movie, model: str, dtype: str, blocks: slice, jaccard: float
) -> None:
    exact, rounded = (localize(movie, model, precision, blocks) for precision in ("float32", dtype))
    pairs = match(exact, rounded)
    assert len(exact) > 1000
    assert len(pairs) / (len(exact) + len(rounded) - len(pairs)) > jaccard
    one, other = exact.select(pairs.truth), rounded.select(pairs.found)
    for axis in "xyz":
        moved = np.abs(getattr(other, f"{axis}_nm") - getattr(one, f"{axis}_nm")) / getattr(one, f"{axis}_sig")
        assert 0 < np.median(moved) < 0.05, f"{axis} in units of sigma"
