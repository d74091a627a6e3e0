"""The front door accepts addresses: every function gives the same result over HTTP as for a local path."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import lls_decode as lls
from lls_decode.errors import ConfigError, InputError, OutputError, StorageError
from tests.pipelines.conftest import write_bundle, write_movie
from tests.remote_servers import Accident, Served, folder_handler, serve

CONFIG = {"compute": {"device": "cpu"}, "compute.threads": 1, "execution.block_frames": 16}

pytest.importorskip("obstore")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    write_movie(folder / "movie.zarr", (50, 40, 48))
    write_bundle(folder / "time.lls", context="time")
    return folder


@pytest.fixture
def web(folder: Path, credentials: None) -> Iterator[Served]:
    with serve(folder_handler(folder)) as server:
        yield server


@pytest.fixture
def movie(web: Served) -> str:
    return f"{web.address}/movie.zarr"


@pytest.fixture(scope="module")
def expected(folder: Path) -> Any:
    return lls.localize(folder / "movie.zarr", folder / "time.lls", config=CONFIG)


def test_opening_and_localizing_by_address_equals_the_local_result(folder: Path, movie: str, expected: Any) -> None:
    model = folder / "time.lls"
    opened = lls.open(movie)
    assert (opened.path, opened.shape) == (movie, (50, 1, 40, 48))
    assert opened.source.identity == lls.open(folder / "movie.zarr").source.identity
    assert lls.localize(movie, model, config=CONFIG).equals(expected)
    assert lls.localize(opened, model, config=CONFIG).equals(expected)
    rows = lls.to_dask_dataframe(movie, model, config=CONFIG)
    assert rows.compute(scheduler="sync").reset_index(drop=True).equals(expected.to_pandas())


def test_a_run_of_an_address_can_be_resumed_with_a_local_copy(
    folder: Path, movie: str, expected: Any, tmp_path: Path
) -> None:
    result = lls.run(movie, folder / "time.lls", tmp_path / "out", config=CONFIG, workers=1, report=False)
    assert result.exit_status == 0
    table = lls.read_table(tmp_path / "out/localizations.parquet")
    assert table.equals(expected)
    assert table.schema.metadata[b"lls_decode"].decode().count(movie) >= 1
    (tmp_path / "out/localizations.parquet").unlink()
    local = folder / "movie.zarr"  # a copy of the dataset belongs to the same run
    assert (
        lls.run(local, folder / "time.lls", tmp_path / "out", config=CONFIG, workers=1, report=False).exit_status == 0
    )
    assert lls.read_table(tmp_path / "out/localizations.parquet").equals(expected)


def test_a_batch_accepts_addresses_and_paths(movie: str, folder: Path, expected: Any, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(f"dataset\n{movie}\n{folder / 'movie.zarr'}\n")
    lls.batch(sheet, tmp_path / "out", model=folder / "time.lls", config=CONFIG, workers=1)
    tables = sorted((tmp_path / "out").rglob("localizations.parquet"))
    assert len(tables) == 2
    for table in tables:
        assert lls.read_table(table).equals(expected)


def test_inspect_preview_and_convert_accept_an_address(movie: str, folder: Path, tmp_path: Path) -> None:
    assert lls.inspect(movie, camera_frames=8)["path"] == movie
    lls.preview(movie, folder / "time.lls", tmp_path / "a.png", config=CONFIG, volume=3)
    assert (tmp_path / "a.png").stat().st_size > 1000
    lls.convert(movie, tmp_path / "copy.zarr")
    frames = zarr.open_array(str(folder / "movie.zarr"), mode="r")[:]
    copied = lls.open(tmp_path / "copy.zarr").source.read_frames(np.array([[t, 0] for t in range(50)]))
    np.testing.assert_array_equal(copied, frames)


def test_addresses_that_cannot_be_used_are_refused(movie: str, folder: Path, web: Served) -> None:
    model, opened = folder / "time.lls", lls.open(movie)
    to_file_system = "is an address, but results can be written to a file system only"
    refused = (
        ("is not a zarr store: it has none", lambda: lls.open(f"{web.address}/other.zarr")),
        ("the address contains a user name", lambda: lls.localize("https://me:hush@host/a.zarr", model)),
        ("the address contains a user name", lambda: lls.inspect("https://me:hush@host/a.parquet")),
        ("of an unknown kind, 'ftp'", lambda: lls.open("ftp://host/a.zarr")),
        (to_file_system, lambda: lls.run(movie, model, "s3://bucket/out", config=CONFIG)),
        (to_file_system, lambda: lls.convert(movie, "s3://bucket/copy.zarr")),
        (to_file_system, lambda: lls.batch(movie, "s3://bucket/out", model=model, config=CONFIG)),
        ("the dataset is already open", lambda: lls.localize(opened, model, config={"input.storage.anonymous": True})),
    )
    for words, call in refused:
        with pytest.raises((ConfigError, InputError, OutputError), match=words) as caught:
            call()
        assert "hush" not in str(caught.value)


def test_a_failing_server_is_a_storage_error_and_not_a_lost_frame(
    movie: str, web: Served, folder: Path, monkeypatch: Any
) -> None:
    from lls_decode.frames.storage import client as clients

    monkeypatch.setattr(clients, "PATIENCE_S", 0.3)
    opened = lls.open(movie)
    web.accidents = [Accident("/c/", 503)]
    with pytest.raises(StorageError, match="try again later"):
        lls.localize(opened, folder / "time.lls", config=CONFIG)


def test_importing_the_package_imports_no_storage_client() -> None:
    program = "import sys, lls_decode as lls; lls.open; print([m for m in ('obstore', 'boto3') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout.strip() == "[]"
