"""An unreadable chunk loses only its own frames, and errors distinguish causes and remedies."""

import contextlib
import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest
import zarr

from lls_decode.blocks import Tile, expand_ranges, find_ranges, join_ranges, plan_blocks
from lls_decode.config import InputConfig
from lls_decode.errors import AccessError, ChunkError, InputError
from lls_decode.frames import open_source, use_fast_codecs
from lls_decode.frames.diagnostics import inspect_source
from tests.frames.test_damage import STORES, T, X, Y, make, movie, overwrite, remove, truncate

NOBODY = 65534


@pytest.fixture(params=[False, True], ids=["zarr", "zarrs"])
def fast(request):
    with zarr.config.set({"codec_pipeline.path": zarr.config.get("codec_pipeline.path")}):
        if request.param and not use_fast_codecs():
            pytest.skip("zarrs is not installed")
        yield


@contextlib.contextmanager
def nobody():
    """Act as an ordinary user, because permissions do not restrict root."""
    if os.getuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder(tmp_path):
    """Return a folder that, like its parents, every user may enter."""
    folder = tmp_path
    while folder != folder.parent and folder.stat().st_uid == os.getuid() and folder.name:
        folder.chmod(folder.stat().st_mode | 0o755)
        folder = folder.parent
    return tmp_path


# --- frames that are lost ---------------------------------------------------------------------------------------------


DAMAGES = [
    pytest.param(options, damage, id=f"{name}, {damage.__name__}")
    for name, options in STORES.items()
    for damage in (remove, truncate, overwrite)
    if not (name in {"v2 bare", "v3 bare"} and damage is overwrite)
]


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize(("options", "damage"), DAMAGES)
def test_only_the_frames_of_a_damaged_file_are_lost(options, damage, tmp_path):
    data = movie()
    array = make(tmp_path / "a.zarr", data, **options)
    source = open_source(tmp_path / "a.zarr")
    damage(tmp_path / "a.zarr" / array.metadata.encode_chunk_key((3, 0, 0)))
    for context in ("none", "time"):
        for block in plan_blocks(source.layout, context, 5):
            stack = source.read_partly(block)
            is_lost = np.isin(block.frames[:, 0], np.arange(12, 16))
            lost = expand_ranges(stack.lost)
            if (
                damage is truncate and options.get("compressors", 1) is None
            ):  # zarrs reads intact parts of uncompressed pixels
                assert set(lost) <= set(block.frames[is_lost, 0])
                continue
            np.testing.assert_array_equal(lost, block.frames[is_lost, 0])
            np.testing.assert_array_equal(stack.adu_TYX, data[block.frames[~is_lost, 0]])
            assert ("it holds frame" in stack.reason) == bool(is_lost.any())


@pytest.mark.parametrize("planes", [1, 4])
def test_several_damaged_chunks_of_one_block_are_reported(planes, tmp_path):
    data = movie()
    make(tmp_path / "a.zarr", data, chunks=(2, Y, X))
    source = open_source(tmp_path / "a.zarr", InputConfig(planes_per_volume=planes))
    remove(tmp_path / "a.zarr/c/1/0/0")
    overwrite(tmp_path / "a.zarr/c/5/0/0")
    overwrite(tmp_path / "a.zarr/c/6/0/0")
    (block,) = plan_blocks(source.layout, "none", 100)
    stack = source.read_partly(block)
    assert stack.lost == ((2, 4), (10, 14))
    np.testing.assert_array_equal(stack.adu_TYX, np.delete(data, [2, 3, 10, 11, 12, 13], axis=0))
    assert stack.reason.index("c/1/0/0 is missing") < stack.reason.index("c/5/0/0 cannot be decoded")
    assert "\n" not in stack.reason


def test_a_damaged_tile_loses_the_whole_frame(tmp_path):
    data = movie()
    make(tmp_path / "a.zarr", data, chunks=(2, 5, 4))
    source = open_source(tmp_path / "a.zarr")
    overwrite(tmp_path / "a.zarr/c/3/1/2")
    (block,) = plan_blocks(source.layout, "none", 100)
    stack = source.read_partly(block)
    assert stack.lost == ((6, 8),)
    np.testing.assert_array_equal(stack.adu_TYX, np.delete(data, [6, 7], axis=0))
    part = replace(source, tile=Tile(0, 4, 0, 4, 0, 5, 0, 8))  # this region does not need the damaged tile
    np.testing.assert_array_equal(part.read_partly(block).adu_TYX, data[:, :5, :8])


def test_an_undecodable_inner_chunk_loses_its_own_frames(tmp_path):
    data = movie()
    make(tmp_path / "a.zarr", data, chunks=(2, Y, X), shards=(8, Y, X))
    file = tmp_path / "a.zarr/c/1/0/0"
    content = bytearray(file.read_bytes())
    offset, length = np.frombuffer(content[-68:-4], "<u8").reshape(4, 2)[1]
    content[offset : offset + length] = b"\0" * int(length)
    file.write_bytes(content)
    source = open_source(tmp_path / "a.zarr")
    stack = source.read_partly(plan_blocks(source.layout, "none", 100)[0])
    assert stack.lost == ((10, 12),)
    np.testing.assert_array_equal(stack.adu_TYX, np.delete(data, [10, 11], axis=0))


def test_lost_frames_of_volumes_in_separate_stores_are_reported(tmp_path):
    data = movie().reshape(6, 4, Y, X)
    for v in range(6):
        make(tmp_path / "all" / f"v{v}.zarr", data[v], chunks=(2, Y, X))
    source = open_source(tmp_path / "all")
    for v in (1, 2, 4, 5):
        remove(tmp_path / "all" / f"v{v}.zarr" / "c/1/0/0")
    (block,) = plan_blocks(source.layout, "plane", 100)
    stack = source.read_partly(block)
    assert stack.lost == ((6, 8), (10, 12), (18, 20), (22, 24))
    assert len(stack.adu_TYX) == 16
    assert stack.reason.endswith("And 2 more arrays are affected.")


# --- context of neighbouring frames -----------------------------------------------------------------------------------


@pytest.mark.parametrize("context", ["none", "time", "plane"])
@pytest.mark.parametrize("block_frames", [1, 4, 7, 100])
def test_a_lost_frame_is_replaced_as_context_like_the_end_of_a_sequence(context, block_frames, tmp_path):
    data = movie()
    make(tmp_path / "a.zarr", data, chunks=(1, Y, X))
    source = open_source(tmp_path / "a.zarr", InputConfig(planes_per_volume=4))
    lost = {5, 6, 11, 12, 23}
    for number in lost:
        remove(tmp_path / f"a.zarr/c/{number}/0/0")
    step = {"none": 0, "plane": 1, "time": 4}[context]
    seen = {}
    for block in plan_blocks(source.layout, context, block_frames):
        stack = source.read_partly(block)
        read = data[np.setdiff1d(np.arange(T), list(lost))]
        assert len(stack.windows) == len(stack.owned) <= len(read)
        for own, window in zip(block.owned_frames[stack.owned], stack.windows, strict=True):
            seen[int(own)] = stack.adu_TYX[window]
    assert set(seen) == set(range(T)) - lost
    for frame, window in seen.items():
        inside = range(frame - frame % 4, frame - frame % 4 + 4) if context == "plane" else range(T)
        for found, other in zip(window, (frame - step, frame, frame + step), strict=True):
            there = other in inside and other not in lost
            np.testing.assert_array_equal(found, data[other if there else frame])


def test_a_block_that_lost_all_frames_is_empty(tmp_path):
    make(tmp_path / "a.zarr", movie(), chunks=(4, Y, X))
    source = open_source(tmp_path / "a.zarr")
    remove(tmp_path / "a.zarr/c/1/0/0")
    stack = source.read_partly(plan_blocks(source.layout, "none", 4)[1])
    assert (stack.adu_TYX.shape, stack.windows.shape, stack.lost) == ((0, Y, X), (0, 3), ((4, 8),))


def test_ranges_of_frames_are_found_expanded_and_joined():
    assert find_ranges([]) == ()
    assert find_ranges([7, 3, 4, 0, 4]) == ((0, 1), (3, 5), (7, 8))
    assert expand_ranges(()).tolist() == []
    assert expand_ranges(((0, 1), (3, 5), (7, 8))).tolist() == [0, 3, 4, 7]
    assert join_ranges([((3, 5), (7, 8)), (), ((4, 6), (8, 9))]) == ((3, 6), (7, 9))


# --- chunks left out because they hold only the fill value ------------------------------------------------------------


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize(
    "options", [{"chunks": (1, Y, X)}, {"chunks": (1, Y, X), "shards": (4, Y, X)}, {"chunks": (2, 5, X)}]
)
@pytest.mark.parametrize("fill", [0, 100])
def test_missing_chunks_are_lost_unless_they_are_filled(fill, options, tmp_path):
    data = movie()
    data[8:12] = data[17] = fill
    make(tmp_path / "a.zarr", data, fill_value=fill, config={"write_empty_chunks": False}, **options)
    source = open_source(tmp_path / "a.zarr")
    (block,) = plan_blocks(source.layout, "none", 100)
    with pytest.raises(ChunkError) as caught:
        source.read(block)
    (key, value) = re.findall(
        r"omitted chunks that contain only the fill value, set input\.(\w+)=(\w+)", str(caught.value)
    )[0]
    filling = open_source(tmp_path / "a.zarr", InputConfig(**{key: value}))
    expected = ((8, 12),) if options["chunks"][0] == 2 else ((8, 12), (17, 18))
    for stack in (filling.read(block), filling.read_partly(block)):
        np.testing.assert_array_equal(stack.adu_TYX, data)
        assert (stack.lost, stack.filled) == ((), expected)
    assert source.read_partly(block).lost == expected
    assert filling.identity == source.identity


def test_damaged_chunks_are_not_filled(tmp_path):
    data = movie()
    make(tmp_path / "a.zarr", data, chunks=(2, Y, X))
    source = open_source(tmp_path / "a.zarr", InputConfig(absent="fill"))
    remove(tmp_path / "a.zarr/c/1/0/0")
    overwrite(tmp_path / "a.zarr/c/5/0/0")
    (block,) = plan_blocks(source.layout, "none", 100)
    with pytest.raises(ChunkError, match="c/5/0/0 cannot be decoded") as caught:
        source.read(block)
    assert "input.absent" not in str(caught.value)
    stack = source.read_partly(block)
    assert (stack.lost, stack.filled) == (((10, 12),), ((2, 4),))
    assert (stack.adu_TYX[2:4] == 0).all()


@pytest.mark.parametrize("stated", ["undefined", "nan"])
def test_absent_chunks_are_lost_where_the_fill_value_is_no_count(stated, tmp_path):
    """The fill value of zarr v2 may be null, which leaves the pixels undefined."""
    data = movie().astype("f4" if stated == "nan" else "u2")
    fill = np.nan if stated == "nan" else 0
    zarr.create_array(
        tmp_path / "a.zarr", shape=data.shape, dtype=data.dtype, chunks=(2, Y, X), zarr_format=2, fill_value=fill
    )[:] = data
    about = json.loads((tmp_path / "a.zarr/.zarray").read_text())
    if stated == "undefined":
        (tmp_path / "a.zarr/.zarray").write_text(json.dumps({**about, "fill_value": None}))
    remove(tmp_path / "a.zarr/3.0.0")
    for absent in ("lost", "fill"):
        source = open_source(tmp_path / "a.zarr", InputConfig(absent=absent))
        (block,) = plan_blocks(source.layout, "none", 100)
        stack = source.read_partly(block)
        assert (stack.lost, stack.filled) == (((6, 8),), ())
        assert "undefined or not finite" in stack.reason
        assert "input.absent" not in stack.reason


# --- permissions and codecs -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("options", [{"chunks": (2, Y, X)}, {"chunks": (2, Y, X), "shards": (4, Y, X)}])
def test_a_file_without_read_permission_is_not_reported_as_damaged(options, open_folder):
    data = movie()
    array = make(open_folder / "a.zarr", data, **options)
    file = open_folder / "a.zarr" / array.metadata.encode_chunk_key((2, 0, 0))
    file.chmod(0)
    lost = np.arange(8, 12) if "shards" in options else np.arange(4, 6)
    with nobody():
        source = open_source(open_folder / "a.zarr")
        (block,) = plan_blocks(source.layout, "none", 100)
        with pytest.raises(ChunkError, match=r"may not be read \(permission denied\), it holds frames") as caught:
            source.read(block)
        assert "permission to read it, then rerun" in str(caught.value)
        stack = source.read_partly(block)
        np.testing.assert_array_equal(expand_ranges(stack.lost), lost)
        np.testing.assert_array_equal(stack.adu_TYX, np.delete(data, lost, axis=0))
        small = plan_blocks(source.layout, "none", 2)[lost[0] // 2]  # a block that loses all its frames
        assert len(source.read_partly(small).adu_TYX) == 0
    file.chmod(0o644)
    with nobody():
        np.testing.assert_array_equal(source.read(block).adu_TYX, data)


def test_chunks_that_are_all_unreadable_are_an_access_error(open_folder):
    make(open_folder / "a.zarr", movie(), chunks=(2, Y, X))
    with nobody():
        source = open_source(open_folder / "a.zarr")
    for file in (open_folder / "a.zarr" / "c").rglob("0"):
        if file.is_file():
            file.chmod(0)
    block = plan_blocks(source.layout, "none", 8)[1]
    with nobody():
        with pytest.raises(AccessError, match="No other frame that was tried can be read either"):
            source.read_partly(block)
        with pytest.raises(AccessError, match=r"c/\d+/0/0 may not be read \(permission denied\)"):
            open_source(open_folder / "a.zarr")


UNREADABLE = {
    "store": ("v0.zarr", "v0.zarr"),
    "metadata of the store": ("v0.zarr/zarr.json", "v0.zarr"),
    "chunks of the store": ("v0.zarr/c", "v0.zarr"),
    "folder of stores": ("", ""),
    "one store of a folder": ("v1.zarr", ""),
}


@pytest.mark.parametrize("mode", [0, 0o444], ids=["no permission", "listing only"])
@pytest.mark.parametrize(("closed", "given"), UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_files_and_folders_give_a_message_about_permissions(closed, given, mode, open_folder):
    for name in ("v0", "v1"):
        make(open_folder / "all" / f"{name}.zarr", movie()[:4], chunks=(2, Y, X))
    path = open_folder / "all" / closed
    if path.is_file() and mode:
        pytest.skip("this file is readable")
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        with nobody(), pytest.raises(InputError) as caught:
            open_source(open_folder / "all" / given)
    finally:
        path.chmod(before)
    assert "permission" in str(caught.value).lower()
    with nobody():
        assert open_source(open_folder / "all" / given).layout.num_frames == (4 if given else 8)


def test_unreadable_entries_that_are_no_stores_are_skipped_with_a_note(open_folder):
    for name in ("v0", "v1"):
        make(open_folder / "all" / f"{name}.zarr", movie()[:4], chunks=(2, Y, X))
    (open_folder / "all" / "lost+found").mkdir(mode=0)
    with nobody():
        source = open_source(open_folder / "all")
    assert source.layout.num_frames == 8
    assert any("lost+found" in note for note in source.notes)


CODECS = {
    "v2": ({"zarr_format": 2}, ".zarray", lambda m: m.update(compressor={"id": "jetraw", "level": 1})),
    "v3": ({}, "zarr.json", lambda m: m["codecs"].append({"name": "jetraw", "configuration": {}})),
    "v3 of numcodecs": ({}, "zarr.json", lambda m: m["codecs"].append({"name": "numcodecs.jetraw"})),
    "shards": (
        {"shards": (4, Y, X)},
        "zarr.json",
        lambda m: m["codecs"][0]["configuration"]["codecs"].append({"name": "jetraw", "configuration": {}}),
    ),
}


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize(("options", "name", "edit"), CODECS.values(), ids=CODECS)
def test_a_missing_codec_is_named(options, name, edit, tmp_path):
    make(tmp_path / "a.zarr", movie(), chunks=(2, Y, X), **options)
    source = open_source(tmp_path / "a.zarr")
    metadata = json.loads((tmp_path / "a.zarr" / name).read_text())
    edit(metadata)
    (tmp_path / "a.zarr" / name).write_text(json.dumps(metadata))
    with pytest.raises(
        AccessError, match=r"needs a codec that is not installed \(.*jetraw.*install the Python package"
    ):
        open_source(tmp_path / "a.zarr")
    with pytest.raises(AccessError, match="jetraw"):  # on a worker without the codec
        replace(source, identity="of a process that has not opened it").read(plan_blocks(source.layout, "none", 9)[0])


# --- reports to the user ----------------------------------------------------------------------------------------------


def test_many_lost_frames_give_one_line_of_the_report(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(100, Y, X), chunks=(1, Y, X), dtype="uint16")
    source = open_source(tmp_path / "a.zarr")
    report = inspect_source(source)
    assert len(report["damaged"]) == 1
    assert "is missing" in report["damaged"][0]
