"""The commands ``link``, ``filter`` and ``debias`` as a user types them."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError
from lls_decode.pipelines.cli import cli
from lls_decode.table import TableMetadata, read_table, schema, table_writer


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Write a table of a thousand molecules in two frames each, with x rounded to the centres of pixels."""
    random, num = np.random.default_rng(0), 1000
    x, y = 100 * np.round(random.uniform(0, 200, num)), random.uniform(0, 20_000, num)
    values = {
        "frame": np.repeat([0, 1], num), "x_nm": np.tile(x, 2), "y_nm": np.tile(y, 2),
        "x_sig": np.tile(np.linspace(5, 25, num), 2), "y_sig": np.full(2 * num, 10), "group": np.full(2 * num, -1),
    }  # fmt: skip
    columns = schema(with_sample=False)
    path = tmp_path / "localizations.parquet"
    with table_writer(path, columns, TableMetadata(pixel_size=PixelSize(x_nm=100, y_nm=100))) as writer:
        arrays = [np.asarray(values.get(f.name, np.ones(2 * num))).astype(f.type.to_pandas_dtype()) for f in columns]
        writer.write(pa.table([pa.array(array) for array in arrays], columns))
    return path


def invoke(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=True)


def test_link_can_be_undone(table: Path) -> None:
    said = json.loads(invoke("link", table, "--gate", "3", "--json").stdout)
    assert said["molecules"] == str(table.with_name("molecules.parquet"))
    assert said["num_molecules"] == read_table(said["molecules"])[0].num_rows
    assert 990 <= said["num_molecules"] <= 1000  # a few molecules coincide
    assert "2000 localizations, 2.0" in invoke("link", table).stdout
    assert "molecule numbers removed" in invoke("link", table, "--undo").stdout
    assert not table.with_name("molecules.parquet").exists()


def test_filter_selects_localizations(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    assert "500 of 2000 rows" in invoke("filter", table, out, "--where", "x_sig < 15 and frame == 1").stdout
    said = invoke("filter", table, out, "--best", "0.5", "--volumes", "1:4").stdout
    assert "1000 of 2000 rows" in said
    assert "largest combined sigma" in said
    assert (
        json.loads(invoke("filter", table, out, "--min-neighbours", 1, "--radius-nm", 1, "--json").stdout)["num_kept"]
        == 2000
    )
    failed = invoke("filter", table, out, "--volumes", "1-3")
    assert isinstance(failed.exception, ConfigError)
    assert "write 1:4 for 1 to 3" in str(failed.exception)
    failed = invoke("filter", table, out, "--where", "x_sg < 3")
    assert isinstance(failed.exception, ConfigError)
    assert "did you mean 'x_sig'" in str(failed.exception)


def test_debias_reports_the_modulation_before_and_after(table: Path, tmp_path: Path) -> None:
    said = json.loads(invoke("debias", table, tmp_path / "out.parquet", "--json").stdout)
    assert said["before"][0]["modulation"] == pytest.approx(2, abs=0.05)  # all localizations are in pixel centres
    assert said["before"][1] == said["after"][1]
    assert "modulation +1.9" in invoke("debias", table, tmp_path / "out.parquet").stdout
    failed = invoke("debias", table, table)
    assert isinstance(failed.exception, ConfigError)
