"""Conversions that are killed, fail, or meet damage: they go on where they were, and every frame is proven."""

import fcntl
import hashlib
import json
import logging
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from lls_decode.axes import Layout
from lls_decode.blocks import plan_blocks
from lls_decode.errors import InputError, OutputError
from lls_decode.frames import create_store, open_source, verify_store
from lls_decode.frames.writing import checksums
from lls_decode.movies import convert, filling

H, W, FRAMES = 9, 11, 300
INF = "data type = 16 bit integers (binary, little endian)\nframe dimensions = 11 x 9\nnumber of frames = 300\n"
KILLED = """
import os, signal, sys
from lls_decode.movies import convert

def progress(done, total):
    if done >= 192:
        os.kill(os.getpid(), signal.SIGKILL)

convert(sys.argv[1], sys.argv[2], workers=1, progress=progress)
"""


def write_movie(folder):
    data = np.random.default_rng(0).integers(90, 140, (FRAMES, H, W)).astype("<u2")
    (folder / "a.dax").write_bytes(data.tobytes())
    (folder / "a.inf").write_text(INF)
    return data


@pytest.fixture
def data(tmp_path):
    return write_movie(tmp_path)


@pytest.fixture
def movie(data, tmp_path):
    return tmp_path / "a.dax"


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    write_movie(folder)
    done = subprocess.run([sys.executable, "-P", "-c", KILLED, folder / "a.dax", folder / "a.zarr"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (folder / "a.zarr").exists()
    return folder


@pytest.fixture
def killed(killed_once, data, tmp_path):
    """What a conversion leaves that was killed after three of five shards; its folder."""
    shutil.copytree(killed_once, tmp_path, dirs_exist_ok=True)
    return tmp_path / ".a.zarr.partial"


def stored(source):
    return source.read(plan_blocks(source.layout, "none", source.layout.num_frames)[0]).adu_TYX


def shard_times(store):
    return {path.name: path.stat().st_mtime_ns for path in sorted((store / "0" / "c").iterdir())}


def flip_a_byte(path, at=100):
    data = bytearray(path.read_bytes())
    data[at] ^= 255
    path.write_bytes(data)


def test_a_killed_conversion_goes_on_and_keeps_its_shards(killed, movie, data, tmp_path, caplog):
    before = {name: time for name, time in shard_times(killed).items() if name in "012"}
    calls = []
    with caplog.at_level(logging.INFO):
        source = convert(movie, tmp_path / "a.zarr", progress=lambda *call: calls.append(call))
    np.testing.assert_array_equal(stored(source), data)
    assert len(before) == 3
    assert before.items() <= shard_times(tmp_path / "a.zarr").items()
    assert "3 of 5 shards are already finished" in caplog.text
    assert {total for _, total in calls} == {300}
    assert sorted(np.diff([192, *(done for done, _ in calls)])) == [44, 64]  # the last two shards end in either order
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.dax", "a.inf", "a.zarr"]
    assert verify_store(tmp_path / "a.zarr") == ()


def test_a_shard_that_was_damaged_since_is_converted_again(killed, movie, data, tmp_path, caplog):
    flip_a_byte(killed / "0" / "c" / "1" / "0" / "0")
    np.testing.assert_array_equal(stored(convert(movie, tmp_path / "a.zarr")), data)
    assert "1 shards or their files have changed" in caplog.text


def test_files_that_changed_since_are_compared_with_what_is_stored(killed, movie, data, tmp_path, caplog):
    data[70] += 1
    movie.write_bytes(data.tobytes())
    np.testing.assert_array_equal(stored(convert(movie, tmp_path / "a.zarr")), data)
    assert "1 shards or their files have changed" in caplog.text


def test_the_shards_of_another_movie_are_not_mixed_in(killed, movie, data, tmp_path):
    movie.write_bytes(np.concatenate([data, data[:5]]).tobytes())
    movie.with_suffix(".inf").write_text(INF.replace(str(len(data)), str(len(data) + 5)))
    with pytest.raises(OutputError, match="shards of another conversion"):
        convert(movie, tmp_path / "a.zarr")
    assert killed.exists()
    assert convert(movie, tmp_path / "a.zarr", overwrite=True).layout.num_frames == 305


def test_two_conversions_to_one_place_do_not_meet(killed, movie, tmp_path):
    before = (killed / "checksums" / "manifest.jsonl").read_text()
    with open(tmp_path / ".a.zarr.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="another conversion"):
            convert(movie, tmp_path / "a.zarr", overwrite=True)
    assert (killed / "checksums" / "manifest.jsonl").read_text() == before


def test_a_line_that_was_cut_short_is_a_shard_that_is_not_there(killed, movie, data, tmp_path):
    manifest = killed / "checksums" / "manifest.jsonl"
    manifest.write_text(manifest.read_text()[:-20])
    np.testing.assert_array_equal(stored(convert(movie, tmp_path / "a.zarr")), data)


def test_what_was_finished_before_a_damaged_page_stays_until_the_file_is_restored(data, tmp_path, caplog):
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, compression="zlib", photometric="minisblack")
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[200].dataoffsets[0]
    path.write_bytes(whole[:offset] + b"\0" * 20 + whole[offset + 20 :])
    with pytest.raises(InputError, match=r"a\.tif: page 200 cannot be decoded"):
        convert(path, tmp_path / "a.zarr", workers=1)
    path.write_bytes(whole)
    with caplog.at_level(logging.INFO):
        np.testing.assert_array_equal(stored(convert(path, tmp_path / "a.zarr")), data)
    assert "of 5 shards are already finished" in caplog.text


@pytest.mark.parametrize(
    ("layout", "lengths"),
    [(Layout(300, 1, H, W), {64, 44}), (Layout(3, 100, H, W), {64, 36}), (Layout(30, 10, H, W), {10})],
)
def test_digests_are_those_of_the_pixels_of_each_volume(layout, lengths, movie, data, tmp_path):
    convert(movie, tmp_path / "a.zarr", planes_per_volume=layout.planes_per_volume)
    manifest = checksums.read_manifest(tmp_path / "a.zarr")
    assert manifest.header["converted_from"] == "a.dax"
    assert [run.first for run in manifest.runs] == sorted(run.first for run in manifest.runs)
    assert sum(run.last + 1 - run.first for run in manifest.runs) == FRAMES
    assert {run.last + 1 - run.first for run in manifest.runs} == lengths
    for run in manifest.runs:
        assert run.sha256 == hashlib.sha256(data[run.first : run.last + 1].tobytes()).hexdigest()


def test_a_store_that_was_damaged_later_is_found_by_its_checksums(movie, tmp_path):
    convert(movie, tmp_path / "a.zarr", planes_per_volume=10)
    flip_a_byte(tmp_path / "a.zarr" / "0" / "c" / "1" / "0" / "0" / "0")
    lost = verify_store(tmp_path / "a.zarr")
    assert lost
    per_shard = open_source(tmp_path / "a.zarr").shards[0]
    assert {run.first // (10 * per_shard) for run in lost} == {1}
    create_store(tmp_path / "b.zarr", Layout(2, 1, H, W))
    with pytest.raises(InputError, match="has no checksums"):
        verify_store(tmp_path / "b.zarr")


def test_a_disk_that_gives_back_something_else_is_noticed(movie, tmp_path, monkeypatch):
    real = checksums.read_piece
    monkeypatch.setattr(filling, "read_piece", lambda *where: real(*where) ^ 1)
    with pytest.raises(OutputError, match="differ when read back"):
        convert(movie, tmp_path / "a.zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.dax", "a.inf"]


def test_many_threads_write_what_one_writes(movie, data, tmp_path):
    for workers in (1, 5):
        convert(movie, tmp_path / f"{workers}.zarr", workers=workers)
    one, five = (checksums.read_manifest(tmp_path / f"{workers}.zarr").runs for workers in (1, 5))
    assert one == five


def test_other_readers_of_zarr_are_not_confused_by_the_manifest(movie, tmp_path):
    import zarr

    convert(movie, tmp_path / "a.zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert sorted(name for name, _ in group.members()) == ["0", "checksums"]
    assert json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())["attributes"]["ome"]["version"] == "0.5"
