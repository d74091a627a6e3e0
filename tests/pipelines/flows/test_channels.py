"""Resolution of one channel of a table equals the resolution of a table of this channel alone."""

from pathlib import Path

import numpy as np
import pytest

from lls_decode.errors import ConfigError
from lls_decode.molecules import filter_table
from lls_decode.pipelines.flows.evaluation import frc
from tests.register.conftest import write


def test_frc_of_one_channel_equals_that_of_its_own_table(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sites = np.column_stack([random.uniform(0, 3000, (300, 2)), np.zeros(300)]).repeat(20, axis=0)
    frame = np.tile(np.arange(20), 300)
    place = sites + random.normal(0, np.where(np.arange(len(sites)) % 2, 5.0, 25.0)[:, None], sites.shape)
    table = write(tmp_path / "t.parquet", place, frame=frame, channel=np.arange(len(sites)) % 2)
    sharp, blurred = (frc(table, blocks=2, channel=number).resolution_nm for number in (1, 0))
    assert sharp < 0.5 * blurred
    filter_table(table, tmp_path / "one.parquet", where="channel=1")
    assert frc(tmp_path / "one.parquet", blocks=2).resolution_nm == pytest.approx(sharp, rel=1e-9)
    alone = write(tmp_path / "alone.parquet", place, frame=frame)
    with pytest.raises(ConfigError, match="no column 'channel'"):
        frc(alone, channel=1)
