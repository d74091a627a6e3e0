"""Detection of tables whose z is meaningful, and arithmetic of the frame ranges that a table covers."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lls_decode.axes import Layout
from lls_decode.blocks import plan_blocks, subtract_ranges
from lls_decode.table import TableMetadata, schema, table_writer
from lls_decode.table.depth import has_depth


def write(path: Path, z_nm: np.ndarray, **metadata: Any) -> Path:
    columns = schema(with_sample=False)
    values = {"z_nm": z_nm}
    arrays = [
        pa.array(values.get(field.name, np.zeros(len(z_nm))).astype(field.type.to_pandas_dtype())) for field in columns
    ]
    with table_writer(path, columns, TableMetadata(**metadata)) as writer:
        writer.write(pa.table(arrays, schema=columns))
    return path


@pytest.mark.parametrize(
    ("z_nm", "metadata", "expected"),
    [
        pytest.param([1.0, -2.0], {}, True, id="nonzero z"),
        pytest.param([0.0, 0.0], {}, False, id="all zero"),
        pytest.param([0.0, 3.0], {"model": {"z_range_nm": [-500.0, 500.0]}}, True, id="a model with depth"),
        pytest.param([0.1, -0.1], {"model": {"z_range_nm": [0.0, 0.0]}}, False, id="a model with a single depth"),
        pytest.param([0.1, -0.1], {"model": {"psf": {"kind": "gaussian"}}}, False, id="a PSF without depth"),
        pytest.param([0.0, 0.0], {"input": {"filled": {"z_nm": "0: two-dimensional"}}}, False, id="filled by import"),
        pytest.param([], {}, True, id="no rows"),
    ],
)
def test_has_depth_follows_the_model_or_the_z_values(
    tmp_path: Path, z_nm: list[float], metadata: dict[str, Any], expected: bool
) -> None:
    assert has_depth(write(tmp_path / "t.parquet", np.asarray(z_nm), **metadata)) is expected


def test_has_depth_accepts_tables_of_other_programs(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x_nm": [1.0], "z_nm": [5.0]}), tmp_path / "deep.parquet")
    pq.write_table(pa.table({"x_nm": [1.0]}), tmp_path / "flat.parquet")
    assert has_depth(tmp_path / "deep.parquet")
    assert not has_depth(tmp_path / "flat.parquet")


@pytest.mark.parametrize("context", ["time", "plane", "none"])
@pytest.mark.parametrize("block_frames", [1, 3, 7, 40])
def test_a_block_owns_one_range_of_frames(context: Any, block_frames: int) -> None:
    layout = Layout(num_volumes=5, planes_per_volume=6, height=8, width=8)
    for block in plan_blocks(layout, context, block_frames):
        assert np.sort(block.owned_frames).tolist() == list(range(*block.frame_range))


@pytest.mark.parametrize(
    ("ranges", "taken", "left"),
    [
        pytest.param(((0, 10),), ((3, 5),), ((0, 3), (5, 10)), id="a cut from the middle"),
        pytest.param(((0, 10),), ((0, 2), (8, 12)), ((2, 8),), id="cuts from both ends"),
        pytest.param(((0, 4), (6, 10)), ((3, 7),), ((0, 3), (7, 10)), id="a cut from two intervals"),
        pytest.param(((0, 4),), ((0, 4),), (), id="all"),
        pytest.param(((0, 4),), (), ((0, 4),), id="nothing"),
    ],
)
def test_taken_ranges_are_subtracted(ranges: Any, taken: Any, left: Any) -> None:
    assert subtract_ranges(ranges, taken) == left
