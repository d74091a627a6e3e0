"""A run of a remote store gives the same table as a local run, and writes credentials nowhere."""

import csv
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client

from lls_decode.cluster.site import connect
from lls_decode.config import InputConfig, StorageConfig
from lls_decode.errors import ConfigError, InputError, OutputError
from lls_decode.pipelines.batch.datasets import BatchSettings, read_datasets
from lls_decode.pipelines.cli import main
from lls_decode.pipelines.flows.preview import preview
from lls_decode.pipelines.planning.plan import Plan, make_plan
from lls_decode.pipelines.running.run import run
from tests.pipelines.conftest import Recorder, World, assert_same_table, ledger, run_config
from tests.remote_servers import BUCKET, SECRET, Served, folder_handler, serve, upload


@pytest.fixture
def movie(world: World, s3: Served) -> str:
    """Upload the movie to a bucket and return its address."""
    upload(s3.upstream, BUCKET, world.movie, "world/movie.zarr")
    return f"s3://{BUCKET}/world/movie.zarr"


@pytest.fixture
def workers(movie: str) -> Iterator[Client]:
    """Return a client with two workers whose environment holds the credentials of the test."""
    with connect("local", workers=2, dashboard_address="127.0.0.1:0") as client:
        yield client


def test_all_stores_give_the_same_table_and_no_file_holds_a_secret(
    world: World, movie: str, workers: Client, s3: Served, tmp_path: Path
) -> None:
    local = world.plan(tmp_path / "local")
    assert run(local, workers).exit_status == 0
    with serve(folder_handler(world.folder)) as web:
        address = f"{web.address}/movie.zarr"
        over_http = make_plan(address, world.bundle(), tmp_path / "http", run_config(16))
        assert run(over_http, workers).exit_status == 0
    storage = StorageConfig(endpoint=s3.address, region="eu-west-3")
    from_s3 = make_plan(movie, world.bundle(), tmp_path / "s3", run_config(16, input=InputConfig(storage=storage)))
    assert from_s3.run_digest == over_http.run_digest == local.run_digest
    num_answers: list[int] = []
    restart = threading.Thread(target=_restart, args=(s3, num_answers))
    assert run(from_s3, workers, listeners=[Recorder(1, restart.start)]).exit_status == 0
    restart.join()
    answered_after = [answer for answer in s3.answers if "/c/" in answer.path][num_answers[0] :]
    assert len(answered_after) > 10
    _resume(from_s3, workers)
    _continue_elsewhere(local, movie, workers)
    for name in ("http", "s3"):
        assert_same_table(tmp_path / name, tmp_path / "local")
    assert json.loads((tmp_path / "s3/run.json").read_text())["dataset"] == movie
    _assert_no_secret(tmp_path)


def _restart(server: Served, num_answers: list[int]) -> None:
    """Stop a server for longer than the client library waits by itself, and restart it.

    The number of chunks that the server sent before is appended to ``num_answers``.
    """
    server.stop()
    num_answers.append(len([answer for answer in server.answers if "/c/" in answer.path]))
    time.sleep(2.5)
    server.start()


def _continue_elsewhere(plan: Plan, dataset: str, workers: Client) -> None:
    """Check that a run of the moved dataset is the same run and finds all blocks finished."""
    lines = ledger(plan)
    moved = make_plan(dataset, plan.bundle_path, plan.out, run_config(16))
    assert run(moved, workers).exit_status == 0
    assert ledger(plan) == lines


def _resume(plan: Plan, workers: Client) -> None:
    """Delete a shard and the table, and check that a rerun computes only the block of this shard."""
    lost = plan.blocks[3]
    for name in ("localizations.parquet", f"shards/{lost.id}.parquet"):
        (plan.out / name).unlink()
    done_before = len(ledger(plan))
    again = make_plan(plan.dataset, plan.bundle_path, plan.out, run_config(16))
    assert run(again, workers).exit_status == 0
    assert [line["block"] for line in ledger(plan)[done_before:]] == [lost.index]


def test_a_preview_reads_a_remote_store(world: World, movie: str, tmp_path: Path) -> None:
    preview(movie, world.bundle(), tmp_path / "preview.png", config=run_config(16), volume=3)
    assert (tmp_path / "preview.png").stat().st_size > 1000


def test_commands_accept_datasets_at_addresses_and_refuse_outputs(
    world: World, movie: str, s3: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(world.bundle())
    assert _main(["inspect", movie, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == movie
    assert _main(["convert", movie, str(tmp_path / "copy.zarr")]) == 0
    capsys.readouterr()
    refused = {
        ("run", movie, "--model", model, "--out", "s3://labdata/out"): "s3://labdata/out is an address, but results",
        ("convert", movie, "s3://labdata/copy.zarr"): "s3://labdata/copy.zarr is an address, but results",
        ("run", movie, "--model", model, "--out", str(tmp_path / "f"), "--follow"): "without --follow",
        ("inspect", f"https://me:{SECRET}@host/a.zarr"): "https://host/a.zarr: the address contains a user name",
        ("inspect", "s3://no-such-bucket/a.zarr"): "the bucket does not exist",
        ("inspect", f"https://me:{SECRET}@host/a.parquet"): "https://host/a.parquet: the address contains a user name",
    }
    for words, message in refused.items():
        assert _main(list(words)) in (2, 3)
        said = capsys.readouterr()
        assert message in said.err
        assert SECRET not in said.err + said.out


def _main(words: list[str]) -> object:
    with pytest.raises(SystemExit) as caught:
        main(words)
    return caught.value.code


def test_a_batch_finds_the_datasets_of_a_bucket(world: World, s3: Served, tmp_path: Path) -> None:
    for name in ("day1/a.zarr", "day1/b.zarr", "day2/deep/a.zarr", "day2/other.txt"):
        upload(s3.upstream, BUCKET, world.movie if name.endswith("zarr") else world.bundle(), f"archive/{name}")
    model = BatchSettings(model=str(world.bundle()))
    root = f"s3://{BUCKET}/archive"
    found = read_datasets(f"{root}/**/*.zarr", tmp_path, settings=model)
    assert [item.dataset for item in found] == [
        f"{root}/day1/a.zarr",
        f"{root}/day1/b.zarr",
        f"{root}/day2/deep/a.zarr",
    ]
    assert [item.name for item in found] == ["day1/a", "day1/b", "day2/deep/a"]
    assert [item.name for item in read_datasets(f"{root}/*/*.zarr", tmp_path, settings=model)] == ["day1/a", "day1/b"]
    with pytest.raises(InputError, match="matches no dataset"):
        read_datasets(f"{root}/*/*.n5", tmp_path, settings=model)
    (tmp_path / "sheet.csv").write_text(f"dataset\n{root}/day1/a.zarr\nhttps://host/x/cell%201.zarr\nlocal.zarr\n")
    found = read_datasets(tmp_path / "sheet.csv", tmp_path, settings=model)
    assert [item.name for item in found] == [f"{BUCKET}/archive/day1/a", "host/x/cell 1", "local"]
    (tmp_path / "sheet.csv").write_text(f"dataset\nhttps://me:{SECRET}@host/a.zarr\n")
    with pytest.raises(InputError, match=r"https://host/a\.zarr: the address contains a user name") as caught:
        read_datasets(tmp_path / "sheet.csv", tmp_path, settings=model)
    assert SECRET not in str(caught.value)
    with pytest.raises(ConfigError, match="is a list at an address; copy the list"):
        read_datasets(f"s3://{BUCKET}/sheet.csv", tmp_path, settings=model)


def test_a_batch_of_a_remote_store_runs(world: World, movie: str, tmp_path: Path) -> None:
    words = ["batch", movie, "--model", str(world.bundle()), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert _main([*words, "--set", "compute.threads=1"]) == 0
    with (tmp_path / "out/batch.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["dataset"], row["status"]) == (movie, "done")
    assert Path(row["table"]) == tmp_path / "out/movie/localizations.parquet"
    with pytest.raises(OutputError, match="results can be written to a file system"):
        make_plan(movie, world.bundle(), Path("s3://bucket/out"), run_config(16))
    _assert_no_secret(tmp_path)


def _assert_no_secret(folder: Path) -> None:
    """Check that a folder holds run records, and that none of its files contains the credentials."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "run.json" for path in files)
    for path in files:
        assert not re.search(f"{SECRET}|AKIATEST".encode(), path.read_bytes()), path
