"""Interrupted and failed conversions are resumed, and checksums verify every frame."""

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
    """Return the folder left by a conversion that was killed after three of five shards."""
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


def test_a_killed_conversion_resumes_and_keeps_its_shards(killed, movie, data, tmp_path, caplog):
    before = {name: time for name, time in shard_times(killed).items() if name in "012"}
    calls = []
    with caplog.at_level(logging.INFO):
        source = convert(movie, tmp_path / "a.zarr", progress=lambda *call: calls.append(call))
    np.testing.assert_array_equal(stored(source), data)
    assert len(before) == 3
    assert before.items() <= shard_times(tmp_path / "a.zarr").items()
    assert "3 of 5 shards are already finished" in caplog.text
    assert {total for _, total in calls} == {300}
    assert sorted(np.diff([192, *(done for done, _ in calls)])) == [44, 64]  # the last shards, in either order
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.dax", "a.inf", "a.zarr"]
    assert verify_store(tmp_path / "a.zarr") == ()


def test_a_shard_damaged_in_between_is_converted_again(killed, movie, data, tmp_path, caplog):
    flip_a_byte(killed / "0" / "c" / "1" / "0" / "0")
    np.testing.assert_array_equal(stored(convert(movie, tmp_path / "a.zarr")), data)
    assert "1 shards or their files have changed" in caplog.text


def test_shards_of_a_changed_file_are_converted_again(killed, movie, data, tmp_path, caplog):
    data[70] += 1
    movie.write_bytes(data.tobytes())
    np.testing.assert_array_equal(stored(convert(movie, tmp_path / "a.zarr")), data)
    assert "1 shards or their files have changed" in caplog.text


def test_shards_of_another_movie_are_refused(killed, movie, data, tmp_path):
    movie.write_bytes(np.concatenate([data, data[:5]]).tobytes())
    movie.with_suffix(".inf").write_text(INF.replace(str(len(data)), str(len(data) + 5)))
    with pytest.raises(OutputError, match="shards of another conversion"):
        convert(movie, tmp_path / "a.zarr")
    assert killed.exists()
    assert convert(movie, tmp_path / "a.zarr", overwrite=True).layout.num_frames == 305


def test_a_second_conversion_to_the_same_place_is_refused(killed, movie, tmp_path):
    before = (killed / "checksums" / "manifest.jsonl").read_text()
    with open(tmp_path / ".a.zarr.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="another conversion"):
            convert(movie, tmp_path / "a.zarr", overwrite=True)
    assert (killed / "checksums" / "manifest.jsonl").read_text() == before


def test_a_truncated_line_of_the_manifest_counts_as_a_missing_shard(killed, movie, data, tmp_path):
    manifest = killed / "checksums" / "manifest.jsonl"
    manifest.write_text(manifest.read_text()[:-20])
    np.testing.assert_array_equal(stored(convert(movie, tmp_path / "a.zarr")), data)


def test_shards_before_a_damaged_page_are_kept_until_the_file_is_restored(data, tmp_path, caplog):
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
def test_digests_of_the_manifest_match_the_pixels(layout, lengths, movie, data, tmp_path):
    convert(movie, tmp_path / "a.zarr", planes_per_volume=layout.planes_per_volume)
    manifest = checksums.read_manifest(tmp_path / "a.zarr")
    assert manifest.header["converted_from"] == "a.dax"
    assert [run.first for run in manifest.runs] == sorted(run.first for run in manifest.runs)
    assert sum(run.last + 1 - run.first for run in manifest.runs) == FRAMES
    assert {run.last + 1 - run.first for run in manifest.runs} == lengths
    for run in manifest.runs:
        assert run.sha256 == hashlib.sha256(data[run.first : run.last + 1].tobytes()).hexdigest()


def test_checksums_detect_damage_to_a_store(movie, tmp_path):
    convert(movie, tmp_path / "a.zarr", planes_per_volume=10)
    flip_a_byte(tmp_path / "a.zarr" / "0" / "c" / "1" / "0" / "0" / "0")
    lost = verify_store(tmp_path / "a.zarr")
    assert lost
    per_shard = open_source(tmp_path / "a.zarr").shards[0]
    assert {run.first // (10 * per_shard) for run in lost} == {1}
    create_store(tmp_path / "b.zarr", Layout(2, 1, H, W))
    with pytest.raises(InputError, match="has no checksums"):
        verify_store(tmp_path / "b.zarr")


def test_a_disk_that_returns_wrong_data_is_detected(movie, tmp_path, monkeypatch):
    real = checksums.read_piece
    monkeypatch.setattr(filling, "read_piece", lambda *where: real(*where) ^ 1)
    with pytest.raises(OutputError, match="differ when read back"):
        convert(movie, tmp_path / "a.zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.dax", "a.inf"]


def test_the_result_does_not_depend_on_the_number_of_threads(movie, data, tmp_path):
    for workers in (1, 5):
        convert(movie, tmp_path / f"{workers}.zarr", workers=workers)
    one, five = (checksums.read_manifest(tmp_path / f"{workers}.zarr").runs for workers in (1, 5))
    assert one == five


def test_the_manifest_does_not_disturb_other_zarr_readers(movie, tmp_path):
    import zarr

    convert(movie, tmp_path / "a.zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert sorted(name for name, _ in group.members()) == ["0", "checksums"]
    assert json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())["attributes"]["ome"]["version"] == "0.5"
