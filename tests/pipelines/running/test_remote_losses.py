"""A run of a dataset on a web server: absent frames are lost, and refused access stops the run."""

from pathlib import Path

import pytest
from distributed import Client

from lls_decode.errors import AccessError
from lls_decode.pipelines.planning.plan import make_plan
from lls_decode.pipelines.running.run import run
from tests.pipelines.conftest import World, assert_same_table, ledger, run_config
from tests.remote_servers import Accident, folder_handler, serve

pytest.importorskip("obstore")


def test_a_run_loses_an_absent_chunk_and_stops_where_access_is_refused(
    world: World, client: Client, tmp_path: Path
) -> None:
    local = world.plan(tmp_path / "local")
    assert run(local, client).exit_status == 0
    with serve(folder_handler(world.folder)) as web:
        plan = make_plan(f"{web.address}/movie.zarr", world.bundle(), tmp_path / "http", run_config(16))
        web.accidents = [Accident("/c/3/0/0$", 404)]
        result = run(plan, client)
        assert (result.exit_status, result.failed, result.lost) == (1, (), ((12, 16),))
        done = len(ledger(plan))
        web.accidents = [Accident("/c/", 403)]
        with pytest.raises(AccessError, match=r"access was denied \(403\).* The run stops; finished blocks") as caught:
            run(plan, client)
        assert caught.value.exit_status == 3
        web.accidents = []
        assert run(plan, client).exit_status == 0
        assert 1 <= len(ledger(plan)) - done <= 2
    assert_same_table(tmp_path / "http", tmp_path / "local")
