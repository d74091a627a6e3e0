"""Blocks with missing, truncated or overwritten chunks fail with an error that names the chunk and its frames."""

import os
import re
from dataclasses import replace

import numpy as np
import pytest
import zarr

from lls_decode.blocks import Tile, plan_blocks
from lls_decode.config import InputConfig
from lls_decode.errors import ChunkError, FrameValueError, InputError
from lls_decode.frames import open_source, use_fast_codecs
from lls_decode.frames.diagnostics import inspect_source

T, Y, X = 24, 10, 12

BLOSC = zarr.codecs.BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")
STORES = {
    "v2 zstd": {"zarr_format": 2, "chunks": (4, Y, X)},
    "v2 bare": {"zarr_format": 2, "chunks": (4, Y, X), "compressors": None},
    "v2 big-endian": {"zarr_format": 2, "chunks": (4, Y, X), "dtype": ">u2"},
    "v3 zstd": {"chunks": (4, Y, X)},
    "v3 blosc": {"chunks": (4, Y, X), "compressors": BLOSC},
    "v3 bare": {"chunks": (4, Y, X), "compressors": None},
    "shard": {"chunks": (1, Y, X), "shards": (4, Y, X), "compressors": BLOSC},
    "shard bare": {"chunks": (2, Y, X), "shards": (4, Y, X), "compressors": None},
    "shard of tiles": {"chunks": (2, 5, 4), "shards": (4, Y, X)},
}


def movie():
    return np.random.default_rng(0).integers(90, 140, (T, Y, X)).astype("uint16")


def make(path, data, **options):
    array = zarr.create_array(path, shape=data.shape, dtype=options.pop("dtype", data.dtype), **options)
    array[...] = data
    return array


def remove(file):
    file.unlink()


def truncate(file):
    os.truncate(file, file.stat().st_size * 9 // 10)


def empty(file):
    os.truncate(file, 0)


def overwrite(file):
    file.write_bytes(np.random.default_rng(1).bytes(file.stat().st_size))


@pytest.fixture(params=[False, True], ids=["zarr", "zarrs"])
def fast(request):
    with zarr.config.set({"codec_pipeline.path": zarr.config.get("codec_pipeline.path")}):
        if request.param and not use_fast_codecs():
            pytest.skip("zarrs is not installed")
        yield


# uncompressed pixels have no checksum: any bytes of the right length are a valid image
CASES = [
    pytest.param(options, damage, id=f"{name}, {damage.__name__}")
    for name, options in STORES.items()
    for damage in (remove, truncate, empty, overwrite)
    if not (name in {"v2 bare", "v3 bare"} and damage is overwrite)
]


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize(("options", "damage"), CASES)
def test_a_damaged_file_fails_its_blocks_only(options, damage, tmp_path):
    data = movie()
    array = make(tmp_path / "a.zarr", data, **options)
    key = array.metadata.encode_chunk_key((3, 0, 0))
    source = open_source(tmp_path / "a.zarr")
    damage(tmp_path / "a.zarr" / key)
    failed = []
    for block in plan_blocks(source.layout, "time", 4):
        try:
            stack = source.read(block)
        except ChunkError as error:
            failed.append(block.index)
            message = str(error)
            assert re.search(rf"chunk {re.escape(key)} (is missing|is truncated|cannot be decoded)", message), message
            assert "it holds frames 12 to 15;" in message
            assert "\n" not in message
        else:
            np.testing.assert_array_equal(stack.adu_TYX, data[block.frames[:, 0]])
    # the chunk's block and its neighbours, for which it is context; zarrs reads intact parts of uncompressed pixels
    is_bare = options.get("compressors", 1) is None and damage is truncate
    assert failed == [2, 3, 4] or (is_bare and failed == [3, 4])


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("options", STORES.values(), ids=STORES)
def test_a_region_reads_only_the_chunks_that_it_needs(options, tmp_path):
    data = movie()
    tiled = {"shards": (4, 5, 4)} if "shards" in options else {}
    array = make(tmp_path / "a.zarr", data, **options | {"chunks": (options["chunks"][0], 5, 4)} | tiled)
    source = open_source(tmp_path / "a.zarr")
    for name in ("0/0", "1/1", "1/2"):
        remove(tmp_path / "a.zarr" / array.metadata.encode_chunk_key((1, *map(int, name.split("/")))))
    (block,) = plan_blocks(source.layout, "none", 100)
    part = replace(source, tile=Tile(2, 3, 5, 11, 1, 4, 4, 12))
    np.testing.assert_array_equal(part.read(block).adu_TYX, data[:, 1:4, 4:12])
    part = replace(source, tile=Tile(2, 3, 5, 11, 1, 6, 4, 12))
    with pytest.raises(ChunkError, match=r"chunk \S*1.1.1 is missing, it holds frames 4 to 7; .*1.1.2 is missing"):
        part.read(block)


@pytest.mark.usefixtures("fast")
def test_a_missing_inner_chunk_is_named(tmp_path):
    data = movie()
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=data.shape, dtype=data.dtype, chunks=(2, Y, X), shards=(8, Y, X), compressors=BLOSC
    )
    array[:10], array[12:] = data[:10], data[12:]  # frames 10 and 11 were never written
    source = open_source(tmp_path / "a.zarr", InputConfig(planes_per_volume=4))
    blocks = plan_blocks(source.layout, "plane", 4)
    np.testing.assert_array_equal(source.read(blocks[1]).adu_TYX, data[4:8])
    with pytest.raises(
        ChunkError, match=r"chunk c/1/0/0 \(inner chunk 5/0/0\) is missing, .* volume 2, planes 2 to 3;"
    ):
        source.read(blocks[2])


@pytest.mark.usefixtures("fast")
def test_an_undecodable_inner_chunk_is_named(tmp_path):
    data = movie()
    make(tmp_path / "a.zarr", data, chunks=(2, Y, X), shards=(8, Y, X))
    file = tmp_path / "a.zarr" / "c/1/0/0"
    bytes_ = bytearray(file.read_bytes())
    offset, length = np.frombuffer(bytes_[-68:-4], "<u8").reshape(4, 2)[1]
    bytes_[offset : offset + length] = b"\0" * int(length)
    file.write_bytes(bytes_)
    source = open_source(tmp_path / "a.zarr")
    with pytest.raises(ChunkError, match=r"chunk c/1/0/0 \(inner chunk 5/0/0\) cannot be decoded .* frames 10 to 11;"):
        source.read(plan_blocks(source.layout, "none", 100)[0])
    assert (source.read(plan_blocks(source.layout, "none", 10)[0]).adu_TYX == data[:10]).all()


def test_a_stored_chunk_of_zeros_is_no_error(tmp_path):
    data = movie()
    data[4:12] = 0
    for name, more in {"a": {"chunks": (2, Y, X)}, "b": {"chunks": (2, Y, X), "shards": (8, Y, X)}}.items():
        make(tmp_path / name, data, config={"write_empty_chunks": True}, **more)
        source = open_source(tmp_path / name)
        np.testing.assert_array_equal(source.read(plan_blocks(source.layout, "none", 100)[0]).adu_TYX, data)
        make(tmp_path / f"{name}2", data, config={"write_empty_chunks": False}, **more)
        source = open_source(tmp_path / f"{name}2")
        with pytest.raises(ChunkError, match="frames 4 to 5"):
            source.read(plan_blocks(source.layout, "none", 100)[0])


@pytest.mark.parametrize("location", ["start", "end"])
def test_the_index_of_a_shard_may_be_at_either_end(location, tmp_path):
    data = movie()
    codec = zarr.codecs.ShardingCodec(chunk_shape=(2, Y, X), index_location=location)
    array = zarr.create(
        store=tmp_path / "a.zarr", shape=data.shape, dtype="uint16", chunks=(8, Y, X), codecs=[codec], zarr_format=3
    )
    array[:14], array[16:] = data[:14], data[16:]
    source = open_source(tmp_path / "a.zarr")
    with pytest.raises(ChunkError, match=r"\(inner chunk 7/0/0\) is missing, it holds frames 14 to 15;"):
        source.read(plan_blocks(source.layout, "none", 100)[0])


def test_an_error_counts_many_missing_chunks(tmp_path):
    make(tmp_path / "a.zarr", movie(), chunks=(2, Y, X))
    source = open_source(tmp_path / "a.zarr")
    for i in range(12):
        (tmp_path / "a.zarr" / f"c/{i}/0/0").unlink()
    with pytest.raises(ChunkError, match="and 8 more; restore"):
        source.read(plan_blocks(source.layout, "none", 100)[0])


def test_a_store_without_any_chunk_opens(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(T, Y, X), chunks=(4, Y, X), dtype="uint16")
    source = open_source(tmp_path / "a.zarr")
    report = inspect_source(source)
    assert report["intensity"] is None
    assert "c/0/0/0 is missing" in report["damaged"][0]


def test_a_lost_volume_of_a_directory_is_named(tmp_path):
    for v in range(3):
        make(tmp_path / "all" / f"v{v}.zarr", movie()[:4], chunks=(2, Y, X))
    source = open_source(tmp_path / "all")
    (tmp_path / "all" / "v1.zarr" / "c/1/0/0").unlink()
    blocks = plan_blocks(source.layout, "plane", 4)
    source.read(blocks[0])
    with pytest.raises(ChunkError, match=r"v1\.zarr: chunk c/1/0/0 is missing, it holds volume 1, planes 2 to 3"):
        source.read(blocks[1])


def test_frames_in_errors_account_for_reversed_volumes(tmp_path):
    make(tmp_path / "a.zarr", movie(), chunks=(2, Y, X))
    source = open_source(tmp_path / "a.zarr", InputConfig(planes_per_volume=8, skip_first=2, bidirectional=True))
    (tmp_path / "a.zarr" / "c/5/0/0").unlink()  # raw frames 10 and 11 are the first two kept frames of volume 1
    with pytest.raises(ChunkError, match="volume 1, planes 4 to 5"):
        source.read(plan_blocks(source.layout, "plane", 100)[0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_frames_with_nan_or_infinite_values_are_refused(value, tmp_path):
    data = movie().astype("float32")
    data[9, 3, 3] = data[13, 0, 0] = value
    make(tmp_path / "a.zarr", data, chunks=(4, Y, X))
    source = open_source(tmp_path / "a.zarr")
    source.read(plan_blocks(source.layout, "none", 8)[0])
    with pytest.raises(FrameValueError, match="NaN or infinite values in frames 9, 13,"):
        source.read(plan_blocks(source.layout, "none", 24)[0])
    source = open_source(tmp_path / "a.zarr", InputConfig(planes_per_volume=4))
    with pytest.raises(FrameValueError, match="volumes 2 to 3, plane 1,"):
        source.read(plan_blocks(source.layout, "time", 24)[0])


def test_a_missing_chunk_with_fill_value_nan_is_reported_as_missing(tmp_path):
    data = movie().astype("float32")
    make(tmp_path / "a.zarr", data, chunks=(4, Y, X), fill_value=np.nan)
    source = open_source(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "c/2/0/0").unlink()
    with pytest.raises(ChunkError, match="c/2/0/0 is missing"):
        source.read(plan_blocks(source.layout, "none", 100)[0])


def test_an_array_that_vanishes_is_an_input_error(tmp_path):
    make(tmp_path / "a.zarr", movie(), chunks=(4, Y, X))
    source = open_source(tmp_path / "a.zarr")
    (tmp_path / "a.zarr").rename(tmp_path / "b.zarr")
    with pytest.raises(InputError):
        source.read(plan_blocks(source.layout, "none", 100)[0])
