"""The complete demonstration (`make demo`) and the accuracy that the documentation promises for it."""

import json
from pathlib import Path

from distributed import Client

from lls_decode.pipelines.flows.demo import demo
from lls_decode.table import read_metadata, read_table


def test_demonstration_reaches_the_promised_accuracy(client: Client, tmp_path: Path) -> None:
    result = demo(tmp_path, client)
    record = json.loads(result.scores.read_text())
    assert 0.3 <= record["density_per_um2"] <= 0.5
    assert record["frames"] >= 600
    score = record["score"]
    assert score["jaccard"] >= 0.75
    assert score["rmse_lateral_nm"] <= 25
    assert score["rmse_axial_nm"] <= 65
    assert result.picture is not None
    assert result.picture.read_bytes().startswith(b"\x89PNG")
    table, metadata = read_table(result.table)
    assert table.num_rows == result.num_localizations > 10_000
    assert metadata.geometry is not None
    again = demo(tmp_path, client)
    assert read_metadata(again.table).run_digest == metadata.run_digest
    assert again.score == result.score
