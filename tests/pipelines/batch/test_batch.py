"""A batch over an archive in which some datasets are broken and some are already done, with an interruption."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import zarr
from distributed import Client

from lls_decode.config import RunConfig
from lls_decode.pipelines.batch.batch import BatchRow, BatchTable, batch, plan_batch, read_rows
from lls_decode.pipelines.batch.datasets import BatchEntry, BatchSettings, read_datasets
from lls_decode.pipelines.cli import main
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.planning.block_selection import Share
from tests.pipelines.conftest import HEIGHT, WIDTH, World, keys_of, wait_for, write_movie

NUMBER = 50
MISSING, AXES, CHUNK = (7, 33), (12, 41), (20, 45)
"""Numbers of datasets without metadata, with axes that do not fit a movie, and with a truncated chunk."""
BROKEN = {*MISSING, *AXES, *CHUNK}
OTHER = (9, 31)
"""Numbers of datasets that were processed with other settings before the batch starts."""
DONE = tuple(number for number in range(0, NUMBER, 2) if number not in BROKEN)
"""Numbers of datasets that were processed with the settings of the batch before it starts."""
CHANGES = {
    "compute.device": "cpu",
    "compute.threads": 1,
    "execution.block_frames": 4,
    "execution.retries": 0,
    "input.axes": "tyx",
}


def name_of(number: int) -> str:
    return f"day{number % 3}/cell{number:02d}"


def frames_of(number: int) -> int:
    """Return the number of frames: one block, or three blocks of which two need the truncated chunk."""
    return 12 if number in CHUNK else 4


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for number in range(NUMBER):
        path = folder / f"{name_of(number)}.zarr"
        if number in AXES:
            zarr.create_array(str(path), shape=(3, 3, 3, HEIGHT, WIDTH), dtype="uint16")
            continue
        write_movie(path, (frames_of(number), HEIGHT, WIDTH), seed=number)
        if number in MISSING:
            (path / "zarr.json").unlink()
        if number in CHUNK:
            os.truncate(path / "c" / "2" / "0" / "0", 40)
    return folder


@pytest.fixture(scope="module")
def datasets(
    archive: Path, world: World, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], list[BatchEntry]]:
    def read(out: Path) -> list[BatchEntry]:
        settings = BatchSettings(model=str(world.bundle()), changes=CHANGES)
        return list(read_datasets(str(archive / "**/*.zarr"), out, settings=settings))

    return read


@pytest.fixture(scope="module")
def undisturbed(
    datasets: Callable[[Path], list[BatchEntry]], client: Client, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the folder of an undisturbed batch."""
    out = tmp_path_factory.mktemp("undisturbed")
    items = datasets(out)
    summary = BatchTable.of(out, items)
    result = batch(items, plan_batch(items), client, summary.write)
    assert result.exit_status == 1, "some datasets are broken"
    assert Counter(row.status for row in result.rows) == {"done": NUMBER - 6, "failed": 4, "incomplete": 2}
    return out


def by_name(out: Path) -> dict[str, BatchRow]:
    """Return the rows of the batch table by the name of the run folder."""
    return {str(Path(row.table).parent.relative_to(out)): row for row in read_rows(out / "batch.csv")}


def test_broken_datasets_are_listed_with_a_reason(undisturbed: Path) -> None:
    found = by_name(undisturbed)
    assert list(found) == sorted(name_of(number) for number in range(NUMBER))
    for numbers, status, words in (
        (MISSING, "failed", "zarr"),
        (AXES, "failed", "axes"),
        (CHUNK, "incomplete", "chunk c/2/0/0"),
    ):
        for number in numbers:
            row = found[name_of(number)]
            assert (row.status, words in row.reason) == (status, True), row
    damaged = found[name_of(CHUNK[0])]
    assert (damaged.blocks, damaged.failed) == (3, 0)
    assert "4 frames could not be read" in damaged.reason
    assert damaged.rows == pq.read_metadata(damaged.table).num_rows > 0
    with (undisturbed / "batch.csv").open() as file:
        header = next(csv.reader(file))
    assert header == ["dataset", "status", "reason", "rows", "blocks", "failed", "seconds", "digest", "table"]


def test_interrupted_batch_gives_the_undisturbed_results_after_a_rerun(
    datasets: Callable[[Path], list[BatchEntry]],
    undisturbed: Path,
    archive: Path,
    world: World,
    client: Client,
    tmp_path: Path,
) -> None:
    items = datasets(tmp_path)
    for number in DONE:
        shutil.copytree(undisturbed / name_of(number), tmp_path / name_of(number))
    others = [replace(item, config=stricter(item.config)) for item in items if item.name in map(name_of, OTHER)]
    assert batch(others, plan_batch(others), client, lambda rows: None).exit_status == 0
    kept = {number: (tmp_path / name_of(number) / "localizations.parquet").stat().st_ino for number in DONE}

    command = [sys.executable, "-P", "-m", "lls_decode.pipelines.cli", "batch", str(archive / "**/*.zarr"), "--force"]
    command += ["--model", str(world.bundle()), "--out", str(tmp_path), "--site", client.scheduler.address]
    command += [word for key, value in CHANGES.items() for word in ("--set", f"{key}={value}")]
    env = {**os.environ, "OMP_NUM_THREADS": "1", **keys_of(client, tmp_path / "keys.pem")}
    program = subprocess.Popen(command, stderr=subprocess.PIPE, env=env)
    wait_for(lambda: done(tmp_path) >= len(DONE) + 5, "five datasets", timeout_s=200)
    program.send_signal(signal.SIGTERM)
    _, said = program.communicate(timeout=100)
    assert program.returncode == 143, said.decode()
    before = by_name(tmp_path)
    assert len(before) == NUMBER
    assert len(DONE) + 5 <= done(tmp_path) < NUMBER - len(BROKEN)
    assert not list(tmp_path.rglob("run*.lock"))

    result = batch(items, plan_batch(items, force=True), client, BatchTable.of(tmp_path, items).write, force=True)
    assert result.exit_status == 1
    expected, found = by_name(undisturbed), by_name(tmp_path)
    assert found.keys() == expected.keys()
    for name, row in found.items():
        other = expected[name]
        for column in ("dataset", "status", "rows", "blocks", "failed", "digest"):
            assert getattr(row, column) == getattr(other, column), (name, column)
        if row.rows is not None:
            assert pq.read_table(row.table).equals(pq.read_table(other.table)), name
        if before[name].status == "done" and before[name].seconds is not None:
            assert row == replace(before[name], reason="done before")
    for number, inode in kept.items():
        assert (tmp_path / name_of(number) / "localizations.parquet").stat().st_ino == inode


def stricter(config: RunConfig) -> RunConfig:
    return config.replace(detection={"accept": 0.9})


def done(out: Path) -> int:
    return sum(row.status == "done" for row in read_rows(out / "batch.csv"))


def test_repaired_dataset_is_processed_by_a_rerun(
    datasets: Callable[[Path], list[BatchEntry]],
    undisturbed: Path,
    client: Client,
    tmp_path: Path,
) -> None:
    """Only the blocks with lost frames are recomputed."""
    number = CHUNK[0]
    (item,) = (item for item in datasets(tmp_path) if item.name == name_of(number))
    shutil.copytree(undisturbed / item.name, item.out)
    mended = write_movie(tmp_path / "mended.zarr", (frames_of(number), HEIGHT, WIDTH), seed=number)
    (row,) = plan_batch([replace(item, dataset=str(mended))])
    assert (row.status, row.reason) == ("unfinished", "3 of 3 blocks are done, frames are missing")
    shard = (item.out / "shards" / "b000000.parquet").stat().st_ino
    result = batch([replace(item, dataset=str(mended))], [row], client, lambda rows: None)
    assert (result.exit_status, result.rows[0].status, result.rows[0].failed) == (0, "done", 0)
    assert (item.out / "shards" / "b000000.parquet").stat().st_ino == shard


def test_planning_a_batch_writes_nothing(
    datasets: Callable[[Path], list[BatchEntry]], undisturbed: Path, tmp_path: Path
) -> None:
    items = datasets(tmp_path)
    assert Counter(row.status for row in plan_batch(items, limit=10)) == {
        "failed": 4,
        "new": 10,
        "waiting": NUMBER - 14,
    }
    assert not list(tmp_path.iterdir())
    there = datasets(undisturbed)
    assert Counter(row.status for row in plan_batch(there)) == {"failed": 4, "done": NUMBER - 6, "unfinished": 2}
    strict = [replace(item, config=stricter(item.config)) for item in there if item.name in map(name_of, DONE)]
    rows = plan_batch(strict)
    assert {row.status for row in rows} == {"failed"}
    assert "detection.accept: 0.7 -> 0.9" in rows[0].reason
    assert {(row.status, row.reason) for row in plan_batch(strict, force=True)} == {("new", "discards another run")}
    with RunFolder(there[0].out).locked():
        assert "in use by process" in plan_batch(there[:1])[0].reason


def test_batch_table_keeps_rows_of_earlier_starts(datasets: Callable[[Path], list[BatchEntry]], tmp_path: Path) -> None:
    items = datasets(tmp_path)
    tables = [str(item.out / "localizations.parquet") for item in items]
    first = BatchRow(items[3].dataset, "done", rows=7, blocks=2, failed=0, seconds=1.5, digest="a", table=tables[3])
    BatchTable.of(tmp_path, items).write([first])
    again = BatchRow(items[3].dataset, "done", "done before", rows=7, digest="a", table=tables[3])
    second = BatchRow(items[4].dataset, "failed", 'a "reason",\nof two lines', table=tables[4])
    BatchTable.of(tmp_path, items).write([second])
    rows = read_rows(tmp_path / "batch.csv")
    assert (rows[3], rows[4], rows[5].status, len(rows)) == (first, second, "waiting", NUMBER)
    BatchTable.of(tmp_path, items).write([again])
    assert read_rows(tmp_path / "batch.csv")[3] == replace(again, seconds=1.5)
    share = BatchTable.of(tmp_path, items[:5], Share(1, 10))
    share.write([replace(first, seconds=2.5)])
    assert [row.status for row in read_rows(tmp_path / "batch.1-of-10.csv")] == ["waiting"] * 3 + ["done", "failed"]
    (tmp_path / "batch.csv").unlink()
    BatchTable.of(tmp_path, items).write([again])
    assert read_rows(tmp_path / "batch.csv")[3] == replace(again, seconds=2.5), (
        "the table is joined from the tables of the shares"
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["--only", "*/day2/*"], NUMBER // 3, id="by pattern"),
        pytest.param(["--only", "day2/cell0?"], 3, id="by name"),
        pytest.param(["--share", "2/7"], 7, id="by share"),
    ],
)
def test_options_select_datasets(
    words: list[str],
    expected: int,
    archive: Path,
    world: World,
    undisturbed: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["batch", str(archive / "**/*.zarr"), "--model", str(world.bundle()), "--out", str(undisturbed)]
    command += [word for key, value in CHANGES.items() for word in ("--set", f"{key}={value}")]
    with pytest.raises(SystemExit) as end:
        main([*command, *words, "--dry-run", "--json"])
    out, err = capsys.readouterr()
    assert end.value.code == 0, err
    assert len(json.loads(out)) == expected
    assert "datasets" not in err
    assert len(err.splitlines()) == expected


def test_an_unattended_site_is_refused(archive: Path, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["batch", str(archive / "*/*.zarr"), "--model", str(world.bundle()), "--out", "out", "--site", "slurm"])
    assert end.value.code == 2
    assert "--share $SLURM_ARRAY_TASK_ID/8" in capsys.readouterr().err
