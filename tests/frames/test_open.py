"""Stores of all kinds give the same frames, and unusable ones are refused with advice."""

import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec, TransposeCodec
from zarr.storage import MemoryStore

from lls_decode.axes import Layout
from lls_decode.blocks import plan_blocks
from lls_decode.config import InputConfig, PixelSize
from lls_decode.errors import InputError
from lls_decode.frames import open_source, use_fast_codecs
from lls_decode.frames.handles import open_zarr_node

T, Z, Y, X = 4, 6, 10, 12


def camera(shape, dtype="uint16", seed=0):
    return np.random.default_rng(seed).integers(90, 140, shape).astype(dtype)


def ome(axes, scale, path="0", unit="micrometer", version="0.4", **more):
    """Return OME-Zarr metadata as other software writes it."""
    records = [
        {"name": a, "type": "time"}
        if a == "t"
        else {"name": a, "type": "channel"}
        if a == "c"
        else {"name": a, "type": "space", "unit": unit}
        for a in axes
    ]
    levels = [{"path": path, "coordinateTransformations": [{"type": "scale", "scale": scale}]}]
    return {"version": version, "axes": records, "datasets": levels, **more}


def write(path: Path, data, **options):
    array = zarr.create_array(path, shape=data.shape, dtype=options.pop("dtype", data.dtype), **options)
    array[...] = data
    return path


def write_v2_ome(path, data, axes, scale, **more):
    write(path / "0", data, zarr_format=2, chunks=(*(1,) * (data.ndim - 2), *data.shape[-2:]))
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / ".zattrs").write_text(json.dumps({"multiscales": [ome(axes, scale, **more)]}))
    return path


def write_v3_ome(path, data, axes, scale, **more):
    multiscales = [ome(axes, scale, **more)]
    zarr.create_group(path, attributes={"ome": {"version": "0.5", "multiscales": multiscales}})
    write(path / "0", data, chunks=(*(2,) * (data.ndim - 2), *data.shape[-2:]), dimension_names=list(axes))
    return path


def write_zip(path, data):
    folder = write(path / "folder", data, chunks=(2, 3, Y, X))
    target = path / "store.zarr.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    shutil.rmtree(folder)
    return target


def write_volumes(path, data, **options):
    for v, volume in enumerate(data):
        write(path / f"v{v}.zarr", volume, **options)
    return path


STACKS = {
    "v2": lambda p, d: write(p / "a.zarr", d, zarr_format=2, chunks=(1, 1, Y, X)),
    "v2 big-endian": lambda p, d: write(p / "a.zarr", d, zarr_format=2, chunks=(2, 4, Y, X), dtype=">u2"),
    "v2 slash": lambda p, d: write(
        p / "a.zarr",
        d,
        zarr_format=2,
        chunks=(3, 4, 7, 5),
        chunk_key_encoding={"name": "v2", "separator": "/"},
        compressors=None,
    ),
    "v3": lambda p, d: write(p / "a.zarr", d, chunks=(3, 4, Y, X)),
    "v3 big-endian": lambda p, d: write(
        p / "a.zarr", d, chunks=(1, 4, Y, X), serializer=BytesCodec(endian="big"), compressors=None
    ),
    "v3 sharded": lambda p, d: write(p / "a.zarr", d, chunks=(1, 2, Y, X), shards=(3, 4, Y, X)),
    "v3 tiles in shards": lambda p, d: write(p / "a.zarr", d, chunks=(1, 2, 4, 6), shards=(2, 4, 8, 12)),
    "v3 one chunk": lambda p, d: write(p / "a.zarr", d, chunks=(10, 10, 20, 20)),
    "ome 0.4": lambda p, d: write_v2_ome(p / "a.zarr", d, "tzyx", [1, 0.4, 0.108, 0.1]),
    "ome 0.5": lambda p, d: write_v3_ome(p / "a.zarr", d, "tzyx", [1, 0.4, 0.108, 0.1]),
    "ome z before t": lambda p, d: write_v3_ome(p / "a.zarr", d.swapaxes(0, 1), "ztyx", [0.4, 1, 0.108, 0.1]),
    "ome x y z t": lambda p, d: write_v3_ome(p / "a.zarr", d.transpose(3, 2, 1, 0), "xyzt", [0.1, 0.108, 0.4, 1]),
    "named axes": lambda p, d: write(
        p / "a.zarr", d.transpose(1, 0, 2, 3), chunks=(2, 2, Y, X), dimension_names=["z", "time", "y", "x"]
    ),
    "group of one": lambda p, d: write(p / "a.zarr" / "raw", d, chunks=(2, 2, Y, X)).parent,
    "zip": write_zip,
    "volumes": lambda p, d: write_volumes(p / "all", d, chunks=(4, Y, X)),
    "volumes v2 glob": lambda p, d: write_volumes(p / "all", d, zarr_format=2, chunks=(4, Y, X)) / "v*.zarr",
}


@pytest.fixture(params=[False, True], ids=["zarr", "zarrs"])
def fast(request):
    """Run each test with each of the two codec pipelines."""
    if not request.param:
        yield False
        return
    with zarr.config.set({"codec_pipeline.path": zarr.config.get("codec_pipeline.path")}):
        if not use_fast_codecs():
            pytest.skip("zarrs is not installed")
        yield True


@pytest.mark.parametrize("make", STACKS.values(), ids=STACKS)
def test_every_block_of_every_store_equals_numpy_indexing(make, tmp_path, fast):
    data = camera((T, Z, Y, X))
    source = open_source(make(tmp_path, data))
    assert source.layout == Layout(T, Z, Y, X)
    assert source.dtype == "uint16"
    source = pickle.loads(pickle.dumps(source))
    for context in ("none", "time", "plane"):
        for block in plan_blocks(source.layout, context, 5):
            stack = source.read(block)
            assert stack.block is block
            assert stack.adu_TYX.dtype == np.dtype("uint16")
            assert stack.adu_TYX.dtype.isnative
            volume, plane = block.frames.T
            np.testing.assert_array_equal(stack.adu_TYX, data[volume, plane])


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "uint32", "float32", "float64", ">f4", ">i2"])
def test_frames_keep_their_dtype_in_native_byte_order(dtype, tmp_path):
    data = camera((5, Y, X), dtype)
    source = open_source(write(tmp_path / "a.zarr", data, zarr_format=2, chunks=(2, Y, X)))
    block = plan_blocks(source.layout, "time", 100)[0]
    np.testing.assert_array_equal(source.read(block).adu_TYX, data)
    assert source.read(block).adu_TYX.dtype == np.dtype(dtype).newbyteorder("=")


PLAIN = {
    "frame": ((Y, X), {}, Layout(1, 1, Y, X)),
    "movie": ((7, Y, X), {}, Layout(7, 1, Y, X)),
    "stack of one volume": ((7, Y, X), {"axes": "zyx"}, Layout(1, 7, Y, X)),
    "flat": ((21, Y, X), {"planes_per_volume": 5}, Layout(4, 5, Y, X)),
    "flat, named z": ((21, Y, X), {"planes_per_volume": 5, "axes": "zyx"}, Layout(4, 5, Y, X)),
    "fly-back": ((21, Y, X), {"planes_per_volume": 5, "skip_first": 2, "skip_last": 1}, Layout(4, 2, Y, X)),
    "stack fly-back": ((3, 5, Y, X), {"skip_first": 1, "skip_last": 1}, Layout(3, 3, Y, X)),
    "channel": ((3, 2, 5, Y, X), {"channel": 1}, Layout(3, 5, Y, X)),
    "channels of a movie": ((3, 2, Y, X), {"channel": 0, "axes": "tcyx"}, Layout(3, 1, Y, X)),
}


@pytest.mark.parametrize(("shape", "config", "layout"), PLAIN.values(), ids=PLAIN)
def test_plain_arrays_open_with_the_expected_layout(shape, config, layout, tmp_path):
    source = open_source(write(tmp_path / "a.zarr", camera(shape)), InputConfig(**config))
    assert source.layout == layout


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("context", ["none", "time", "plane"])
def test_a_flat_stream_drops_fly_back_frames_and_reverses_volumes(both_ways, context, tmp_path):
    flat = camera((23, Y, X))
    source = open_source(
        write(tmp_path / "a.zarr", flat, chunks=(4, Y, X)),
        InputConfig(planes_per_volume=5, skip_first=2, skip_last=1, bidirectional=both_ways),
    )
    volumes = flat[:20].reshape(4, 5, Y, X)[:, 2:4].copy()
    if both_ways:
        volumes[1::2] = volumes[1::2, ::-1]
    for block in plan_blocks(source.layout, context, 3):
        np.testing.assert_array_equal(source.read(block).adu_TYX, volumes[tuple(block.frames.T)])
    assert any(note.startswith("3 of 23 frames") for note in source.notes)


def test_volumes_are_read_in_natural_order_of_names(tmp_path):
    data = camera((12, 3, Y, X))
    write_volumes(tmp_path / "all", data, chunks=(3, Y, X))  # v0, v1, ..., v9, v10, v11
    (tmp_path / "all" / "Settings").mkdir()
    source = open_source(tmp_path / "all")
    block = plan_blocks(source.layout, "none", 1000)[0]
    np.testing.assert_array_equal(source.read(block).adu_TYX, data.reshape(-1, Y, X))
    assert any("Settings" in note for note in source.notes)


def test_stores_of_single_frames_form_volumes(tmp_path):
    data = camera((6, Y, X))
    write_volumes(tmp_path / "all", data)
    assert open_source(tmp_path / "all").layout == Layout(6, 1, Y, X)
    source = open_source(tmp_path / "all", InputConfig(planes_per_volume=3))
    np.testing.assert_array_equal(source.read(plan_blocks(source.layout, "plane", 9)[0]).adu_TYX, data)


def test_a_pickled_source_is_small_and_equal(tmp_path):
    write_volumes(tmp_path / "all", camera((30, 2, Y, X)), chunks=(2, Y, X))
    source = open_source(tmp_path / "all")
    assert len(pickle.dumps(source)) < 3000
    assert pickle.loads(pickle.dumps(source)) == source


SCALES = {
    "micrometer": ([1, 0.4, 0.108, 0.1], "micrometer", PixelSize(x_nm=100, y_nm=108), 400.0),
    "nanometer": ([1, 400, 108, 100], "nanometer", PixelSize(x_nm=100, y_nm=108), 400.0),
    "1.0 is unknown": ([1, 1.0, 1.0, 1.0], "micrometer", None, None),
    "z unknown": ([1, 1.0, 0.1, 0.1], "micrometer", PixelSize(x_nm=100, y_nm=100), None),
    "no unit": ([1, 0.4, 0.1, 0.1], None, None, None),
    "y unknown": ([1, 0.4, 1.0, 0.1], "um", None, 400.0),
}


@pytest.mark.parametrize(("scale", "unit", "pixel", "step"), SCALES.values(), ids=SCALES)
@pytest.mark.parametrize("writer", [write_v2_ome, write_v3_ome], ids=["0.4", "0.5"])
def test_pixel_size_and_z_step_are_read_from_ome_scales(writer, scale, unit, pixel, step, tmp_path):
    source = open_source(writer(tmp_path / "a.zarr", camera((2, 3, Y, X)), "tzyx", scale, unit=unit))
    assert source.pixel_size == pixel
    assert source.z_step_nm == step
    assert any("unit None" in note for note in source.notes) == (unit is None)
    assert any("pixel size along x only" in note for note in source.notes) == (pixel is None and unit == "um")


def test_scale_of_the_group_is_applied(tmp_path):
    more = {"coordinateTransformations": [{"type": "scale", "scale": [1, 2.0, 0.5, 0.5]}]}
    source = open_source(write_v2_ome(tmp_path / "a.zarr", camera((2, 3, Y, X)), "tzyx", [1, 0.2, 0.2, 0.2], **more))
    assert source.pixel_size == PixelSize(x_nm=100, y_nm=100)
    assert source.z_step_nm == 400


def positions(path):
    """Write a group with two images."""
    for name in ("p0", "p1"):
        write_v2_ome(path / name, camera((3, Y, X)), "tyx", [1, 0.1, 0.1])
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    return path


def bioformats2raw(path):
    zarr.create_group(path, attributes={"ome": {"version": "0.5", "bioformats2raw.layout": 3}})
    zarr.create_group(path / "OME", attributes={"ome": {"version": "0.5", "series": ["0", "1"]}})
    for name in ("0", "1"):
        write_v3_ome(path / name, camera((3, Y, X)), "tyx", [1, 0.1, 0.1])
    return path


def plate(path):
    (path / "A" / "1").mkdir(parents=True)
    for group, attributes in {
        "": {"plate": {"wells": [{"path": "A/1"}]}},
        "A": {},
        "A/1": {"well": {"images": [{"path": "0"}, {"path": "1"}]}},
    }.items():
        (path / group / ".zgroup").write_text('{"zarr_format": 2}')
        (path / group / ".zattrs").write_text(json.dumps(attributes))
    for name in ("0", "1"):
        write_v2_ome(path / "A" / "1" / name, camera((3, Y, X)), "tyx", [1, 0.1, 0.1])
    return path


def navigate(path):
    """Write a group with several multiscales whose arrays are at its root."""
    multiscales = [ome("tyx", [1, 0.1, 0.1], path=name) for name in ("p0_0", "p1_0")]
    for name in ("p0_0", "p1_0"):
        write(path / name, camera((3, Y, X)), zarr_format=2, chunks=(1, Y, X))
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / ".zattrs").write_text(json.dumps({"multiscales": multiscales}))
    return path


SEVERAL = {
    "positions": (positions, "p1", "p1/0"),
    "bioformats2raw": (bioformats2raw, "1", "1/0"),
    "plate": (plate, "A/1/1", "A/1/1/0"),
    "navigate": (navigate, "p1_0", "p1_0"),
}


@pytest.mark.parametrize(("make", "chosen", "array"), SEVERAL.values(), ids=SEVERAL)
def test_several_images_are_listed_and_one_can_be_chosen(make, chosen, array, tmp_path):
    path = make(tmp_path / "a.zarr")
    with pytest.raises(InputError, match=r"holds 2 images .*--array") as caught:
        open_source(path)
    assert chosen in str(caught.value)
    for name in {chosen, array}:
        source = open_source(path, InputConfig(array=name))
        assert source.array == array
        assert source.pixel_size == PixelSize(x_nm=100, y_nm=100)
        assert source.layout == Layout(3, 1, Y, X)


def test_a_reduced_level_is_refused(tmp_path):
    path = write_v2_ome(tmp_path / "a.zarr", camera((3, Y, X)), "tyx", [1, 0.1, 0.1])
    write(path / "1", camera((3, Y // 2, X // 2)), zarr_format=2)
    attributes = json.loads((path / ".zattrs").read_text())
    attributes["multiscales"][0]["datasets"].append({"path": "1"})
    (path / ".zattrs").write_text(json.dumps(attributes))
    assert open_source(path).array == "0"
    with pytest.raises(InputError, match=r"reduced resolution level.*--array 0"):
        open_source(path, InputConfig(array="1"))


def test_levels_that_do_not_begin_with_the_largest_are_refused(tmp_path):
    path = write_v2_ome(tmp_path / "a.zarr", camera((3, Y // 2, X // 2)), "tyx", [1, 0.2, 0.2])
    full = camera((3, Y, X))
    write(path / "1", full, zarr_format=2)
    attributes = json.loads((path / ".zattrs").read_text())
    scale = [{"type": "scale", "scale": [1, 0.1, 0.1]}]
    attributes["multiscales"][0]["datasets"].append({"path": "1", "coordinateTransformations": scale})
    (path / ".zattrs").write_text(json.dumps(attributes))
    with pytest.raises(InputError, match=r"first resolution level of the root is 0, but 1 has more pixels.*--array 1"):
        open_source(path)
    with pytest.raises(InputError, match=r"0 is a reduced resolution level.*--array 1"):
        open_source(path, InputConfig(array="0"))
    source = open_source(path, InputConfig(array="1"))
    assert source.pixel_size == PixelSize(x_nm=100, y_nm=100)
    np.testing.assert_array_equal(source.read_frames(np.array([[0, 0], [2, 0]])), full[[0, 2]])


def test_a_reduced_level_does_not_replace_a_missing_first_level(tmp_path):
    path = write_v2_ome(tmp_path / "a.zarr", camera((3, Y, X)), "tyx", [1, 0.1, 0.1])
    (path / "0").rename(path / "1")
    attributes = json.loads((path / ".zattrs").read_text())
    attributes["multiscales"][0]["datasets"].append({"path": "1"})
    (path / ".zattrs").write_text(json.dumps(attributes))
    with pytest.raises(InputError, match="array 0 cannot be opened"):
        open_source(path)
    with pytest.raises(InputError, match=r"1 is a reduced resolution level.*--array 0"):
        open_source(path, InputConfig(array="1"))


@pytest.mark.parametrize("writer", [write_v2_ome, write_v3_ome], ids=["0.4", "0.5"])
def test_an_array_given_by_its_path_uses_the_metadata_of_its_image(writer, tmp_path):
    path = writer(tmp_path / "a.zarr", camera((3, Y, X)), "zyx", [0.4, 0.1, 0.1])
    inside, outside = open_source(path / "0"), open_source(path)
    assert inside.layout == outside.layout == Layout(1, 3, Y, X)
    assert inside.pixel_size == PixelSize(x_nm=100, y_nm=100)
    assert inside.identity == outside.identity
    np.testing.assert_array_equal(inside.read_frames(np.array([[0, 2]])), outside.read_frames(np.array([[0, 2]])))


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (
            ("zyx", [0.4, 0.2, 0.2]),
            "v2.zarr has axes zyx and steps z 400 nm, y 200 nm, x 200 nm, but .*v0.zarr has axes",
        ),
        (("zxy", [0.4, 0.1, 0.1]), "v2.zarr has axes zxy and steps"),
    ],
)
def test_stores_with_other_axes_or_sizes_are_refused(second, says, tmp_path):
    data = camera((3, Y, Y))
    write_v3_ome(tmp_path / "v0.zarr", data, "zyx", [0.4, 0.1, 0.1])
    write_v3_ome(tmp_path / "v1.zarr", data, "zyx", [0.4, 0.1, 0.1])
    assert open_source(tmp_path).layout == Layout(2, 3, Y, Y)
    write_v3_ome(tmp_path / "v2.zarr", data, *second)
    with pytest.raises(InputError, match=says):
        open_source(tmp_path)


def test_plain_stores_with_other_axes_are_refused_unless_the_user_names_them(tmp_path):
    for number, names in enumerate([["z", "y", "x"], ["z", "x", "y"]]):
        write(tmp_path / f"v{number}.zarr", camera((3, Y, Y)), dimension_names=names)
    with pytest.raises(InputError, match=r"v1\.zarr has axes zxy .* but .*v0\.zarr has axes zyx"):
        open_source(tmp_path)
    assert open_source(tmp_path, InputConfig(axes="zyx")).layout == Layout(2, 3, Y, Y)


@pytest.mark.parametrize("length", [8, 9])
@pytest.mark.parametrize("shards", [None, (4, Y, X)])
def test_chunks_behind_the_end_of_an_array_give_a_note(shards, length, tmp_path):
    path = write(tmp_path / "a.zarr", camera((12, Y, X)), chunks=(1, Y, X), shards=shards)
    assert not any("more chunks" in note for note in open_source(path).notes)
    document = json.loads((path / "zarr.json").read_text())
    document["shape"][0] = length
    (path / "zarr.json").write_text(json.dumps(document))
    source = open_source(path)
    assert source.layout.num_frames == length
    assert any(f"more chunks along t than its stated length of {length}" in note for note in source.notes)


NESTED = {
    "transposed shards": [TransposeCodec(order=(0, 2, 1)), ShardingCodec(chunk_shape=(1, 4, 4))],
    "shards with a checksum": [ShardingCodec(chunk_shape=(1, 4, 4)), Crc32cCodec()],
    "shards in shards": [ShardingCodec(chunk_shape=(2, 4, 4), codecs=[ShardingCodec(chunk_shape=(1, 4, 4))])],
}


@pytest.mark.filterwarnings("ignore:Combining a")
@pytest.mark.parametrize("codecs", NESTED.values(), ids=NESTED)
def test_shards_whose_missing_chunks_cannot_be_found_are_refused(codecs, tmp_path):
    for store, opening in ((tmp_path / "a.zarr", open_source), (MemoryStore(), open_zarr_node)):
        array = zarr.create(store=store, shape=(4, 8, 8), dtype="u2", chunks=(4, 8, 8), codecs=codecs, zarr_format=3)
        array[:] = 100
        with pytest.raises(InputError, match="has shards inside other codecs or shards"):
            opening(store if opening is open_source else array)


def test_axes_given_by_the_user_override_wrong_metadata(tmp_path):
    path = write_v2_ome(tmp_path / "a.zarr", camera((2, 3, Y, X)), "tqyx", [1, 1, 1, 1])
    assert open_source(path, InputConfig(axes="tzyx")).layout == Layout(2, 3, Y, X)


def test_an_array_below_invalid_metadata_opens_by_its_path(tmp_path):
    path = ome_text({"multiscales": [5]})(tmp_path / "a.zarr")
    assert open_source(path / "0").layout == Layout(3, 1, Y, X)


def text_file(path):
    path.write_text("no zarr")
    return path


def folder_of(path, name):
    path.mkdir()
    (path / name).write_text("x")
    return path


def broken_metadata(path):
    write(path, camera((3, Y, X)))
    (path / "zarr.json").write_text("{")
    return path


def unequal_volumes(path):
    write(path / "v1.zarr", camera((3, Y, X)))
    write(path / "v2.zarr", camera((4, Y, X)))
    return path


def two_datasets(path):
    for name in "ab":
        write(path / f"{name}.zarr", camera((2, 3, Y, X)))
    return path


def empty_volume(path):
    write(path / "v1.zarr", camera((3, Y, X)))
    (path / "v2.zarr").mkdir()
    return path


def ome_text(attributes):
    def make(path):
        write(path / "0", camera((3, Y, X)), zarr_format=2)
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        (path / ".zattrs").write_text(json.dumps(attributes))
        return path

    return make


def ome_of(axes, shape, scale=None):
    return lambda p: write_v2_ome(p, camera(shape), axes, scale or [1.0] * len(axes))


def plain(shape, dtype="uint16", **options):
    return lambda p: write(p, camera(shape, dtype), **options)


REFUSED = {
    "missing": (lambda p: p, {}, "does not exist"),
    "unknown address": (lambda p: "ftp://host/a.zarr", {}, "an address of an unknown kind, .ftp."),
    "text file": (text_file, {}, "is a file, expected a zarr store"),
    "tiff": (lambda p: text_file(p.with_suffix(".tif")), {}, "lls-decode convert"),
    "folder without stores": (lambda p: folder_of(p, "a.txt"), {}, "is not a zarr store and contains none"),
    "glob without match": (lambda p: f"{p}/*.zarr", {}, "No zarr store matches"),
    "empty group": (lambda p: [zarr.create_group(p), p][1], {}, "contains no zarr array"),
    "no such array": (plain((3, Y, X)), {"array": "nothing"}, "array 'nothing', contains no zarr array"),
    "broken metadata": (broken_metadata, {}, "zarr.json cannot be read"),
    "complex": (plain((3, Y, X), "complex64"), {}, "type complex64, expected integer or floating-point"),
    "bool": (plain((3, Y, X), "bool"), {}, "type bool"),
    "empty": (plain((0, Y, X)), {}, r"is empty: its shape is \(0, 10, 12\)"),
    "1-D": (plain((9,)), {}, "expected 2 to 5 dimensions"),
    "6-D": (plain((1, 1, 1, 1, 2, 2)), {}, "expected 2 to 5 dimensions"),
    "too few axes": (plain((3, Y, X)), {"axes": "yx"}, "one letter per dimension"),
    "no x": (plain((3, Y, X)), {"axes": "tzy"}, "expected y and x"),
    "t twice": (plain((2, 3, Y, X)), {"axes": "ttyx"}, "at most once each"),
    "channels": (plain((2, 2, 3, Y, X)), {}, "has 2 channels; choose one with --channel 0 to 1"),
    "no such channel": (plain((2, 2, 3, Y, X)), {"channel": 2}, "there is no channel 2"),
    "channel of a movie without channels": (plain((3, Y, X)), {"channel": 1}, "has 1 channel, there is no channel 1"),
    "planes of a stack": (plain((2, 3, Y, X)), {"planes_per_volume": 4}, "3 planes along z .* planes_per_volume is 4"),
    "too short": (plain((3, Y, X)), {"planes_per_volume": 4}, "3 frames, fewer than one volume of 4"),
    "all skipped": (plain((8, Y, X)), {"planes_per_volume": 4, "skip_first": 3, "skip_last": 1}, "leave no plane"),
    "skipped from volumes of one frame": (plain((8, Y, X)), {"skip_first": 1}, "leave no plane of the 1"),
    "frames last, shown by chunks": (plain((32, 40, 50), chunks=(32, 40, 1)), {}, "--axes yxt if y and x are first"),
    "frames last, shown by shape": (plain((32, 32, 200), chunks=(16, 16, 16)), {}, "does not look like tyx"),
    "frames last, Fortran": (plain((32, 40, 50), zarr_format=2, order="F"), {}, "Fortran order"),
    "unknown ome axis": (ome_of("tqyx", (2, 3, Y, X)), {}, "axis 'q', expected t, c, z, y, x"),
    "ome without levels": (ome_text({"multiscales": [{"datasets": []}]}), {}, "invalid OME metadata"),
    "ome of a number": (ome_text({"multiscales": 5}), {}, "invalid OME metadata"),
    "ome of nothing": (ome_text({"multiscales": None}), {}, "invalid OME metadata"),
    "ome of text": (ome_text({"multiscales": ["0"]}), {}, "invalid OME metadata"),
    "plate of text": (ome_text({"plate": "A"}), {}, "invalid OME metadata"),
    "ome of a lost array": (ome_text({"multiscales": [ome("tyx", [1, 1, 1], path="5")]}), {}, "5 cannot be opened"),
    "folder that is no store": (empty_volume, {}, "v2.zarr has no array at its root"),
    "short ome scale": (ome_of("tyx", (2, Y, X), [1.0, 1.0]), {}, r"scale of \[1.0, 1.0\] for 3 axes"),
    "ome axes of another array": (ome_of("tzyx", (2, Y, X)), {}, "the metadata give axes 'tzyx'"),
    "unequal volumes": (unequal_volumes, {}, "all volumes of a dataset must be alike"),
    "two datasets": (two_datasets, {}, "a complete dataset by itself, expected one volume"),
}


@pytest.mark.parametrize(("make", "config", "message"), REFUSED.values(), ids=REFUSED)
def test_unusable_input_is_refused_in_one_sentence(make, config, message, tmp_path):
    path = make(tmp_path / "a.zarr")
    with pytest.raises(InputError, match=message) as caught:
        open_source(path, InputConfig(**config))
    assert "\n" not in str(caught.value)


def test_an_array_with_frames_last_is_read_with_axes_from_the_user(tmp_path):
    data = camera((Y, X, 40))
    path = write(tmp_path / "a.zarr", data, chunks=(Y, X, 1))
    with pytest.raises(InputError, match="--axes yxt"):
        open_source(path)
    source = open_source(path, InputConfig(axes="yxt"))
    block = plan_blocks(source.layout, "time", 100)[0]
    np.testing.assert_array_equal(source.read(block).adu_TYX, np.moveaxis(data, -1, 0))
    assert any("stored as yxt" in note for note in source.notes)


def test_dimension_names_that_are_no_axes_give_a_note(tmp_path):
    path = write(tmp_path / "a.zarr", camera((3, Y, X)), dimension_names=["dim_0", "dim_1", "dim_2"])
    assert any("dim_0" in note for note in open_source(path).notes)


def test_the_identity_depends_on_the_data_not_on_its_path(tmp_path):
    data = camera((12, Y, X))
    path = write(tmp_path / "a.zarr", data, chunks=(2, Y, X))
    identity = open_source(path).identity
    shutil.copytree(path, tmp_path / "elsewhere.zarr")
    assert open_source(tmp_path / "elsewhere.zarr").identity == identity
    assert open_source(path, InputConfig(planes_per_volume=3)).identity != identity
    assert open_source(path, InputConfig(axes="tyx")).identity == identity
    data[0, 0, 0] += 1
    other = write(tmp_path / "b.zarr", data, chunks=(2, Y, X))
    assert open_source(other).identity != identity


def test_the_identity_depends_on_every_volume(tmp_path):
    data = camera((5, 3, Y, X))
    first = open_source(write_volumes(tmp_path / "a", data, chunks=(3, Y, X)))
    data[-1] += 1
    second = open_source(write_volumes(tmp_path / "b", data, chunks=(3, Y, X)))
    assert first.identity != second.identity


def test_a_store_rewritten_at_the_same_path_is_read_again(tmp_path):
    for seed in (1, 2):
        data = camera((4, Y, X), seed=seed)
        shutil.rmtree(tmp_path / "a.zarr", ignore_errors=True)
        source = open_source(write(tmp_path / "a.zarr", data, chunks=(seed, Y, X)))
        np.testing.assert_array_equal(source.read(plan_blocks(source.layout, "none", 9)[0]).adu_TYX, data)


def test_a_volume_added_during_a_run_is_an_error(tmp_path):
    write_volumes(tmp_path / "all", camera((3, 2, Y, X)))
    source = open_source(tmp_path / "all")
    write(tmp_path / "all" / "v3.zarr", camera((2, Y, X)))
    open_source(tmp_path / "all")  # list the directory again, as another process does
    with pytest.raises(InputError, match="contains 4 arrays, but had 3 when it was opened"):
        source.read(plan_blocks(source.layout, "none", 9)[0])


@pytest.mark.parametrize("edge", [0, 120])
def test_deskewed_input_gives_a_note(edge, tmp_path):
    data = np.full((1, 20, 16, 100), edge, "uint16")
    for k in range(20):
        data[0, k, :, 3 * k : 3 * k + 40] = camera((16, 40), seed=k)
    assert any("looks deskewed" in note for note in open_source(write(tmp_path / "a.zarr", data)).notes)
    raw = open_source(write(tmp_path / "b.zarr", camera((1, 20, 16, 40))))
    assert not any("deskewed" in note for note in raw.notes)


def test_several_threads_can_read_at_once(tmp_path):
    data = camera((64, Y, X))
    source = open_source(write(tmp_path / "a.zarr", data, chunks=(2, Y, X)))
    blocks = plan_blocks(source.layout, "time", 4)
    with ThreadPoolExecutor(4) as pool:
        for stack in pool.map(source.read, blocks):
            np.testing.assert_array_equal(stack.adu_TYX, data[stack.block.frames[:, 0]])


def test_importing_frames_loads_neither_torch_nor_optional_packages():
    code = "import sys, lls_decode.frames; print({'torch', 'tifffile', 'zarrs', 'dask'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_a_block_of_another_dataset_is_refused(tmp_path):
    source = open_source(write(tmp_path / "a.zarr", camera((3, Y, X))))
    with pytest.raises(ValueError, match="planned for a different dataset"):
        source.read(plan_blocks(Layout(9, 1, Y, X), "none", 9)[0])


def test_third_party_stores_open_or_are_refused_with_a_reason(shared_data):
    stores = sorted((shared_data / "ome_zarr").iterdir())
    assert stores
    for path in stores:
        if "tczyx" in path.name:
            with pytest.raises(InputError, match="--channel 0 to 1"):
                open_source(path)
        source = open_source(path, InputConfig(channel=1 if "tczyx" in path.name else None))
        block = plan_blocks(source.layout, "none", 1000)[0]
        if path.name.startswith("ng_"):
            assert source.pixel_size == PixelSize(x_nm=30, y_nm=4)
            np.testing.assert_array_equal(source.read(block).adu_TYX, np.arange(100).reshape(1, 10, 10))
        else:  # these stores have no chunks
            assert source.pixel_size == PixelSize(x_nm=500, y_nm=500)
            assert source.z_step_nm == 2000
            with pytest.raises(InputError, match="is missing, it holds"):
                source.read(block)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_chunks_of_no_frames_are_refused(tmp_path, zarr_format):
    """Some versions of zarr replace such a chunk size by 1 instead of raising an error."""
    write(tmp_path / "a", camera((T, Y, X)), chunks=(T, Y, X), zarr_format=zarr_format)
    file = tmp_path / "a" / ("zarr.json" if zarr_format == 3 else ".zarray")
    stated = json.loads(file.read_text())
    (stated["chunk_grid"]["configuration"]["chunk_shape"] if zarr_format == 3 else stated["chunks"])[0] = 0
    file.write_text(json.dumps(stated))
    with pytest.raises(InputError, match="states chunks or shards with a size below 1"):
        open_source(tmp_path / "a", InputConfig(axes="tyx"))
