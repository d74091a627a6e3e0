"""Created stores, and conversion of movies of other formats into stores without losing a frame."""

import builtins
import json
import logging

import numpy as np
import pytest
import zarr

from lls_decode.axes import Layout
from lls_decode.blocks import plan_blocks
from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError, InputError, OutputError
from lls_decode.frames import create_store, open_source
from lls_decode.frames.diagnostics import decoded_pixels, inspect_source
from lls_decode.frames.writing.create import chunk_shapes
from lls_decode.movies import convert

tifffile = pytest.importorskip("tifffile")


def camera(shape, dtype="uint16"):
    return np.random.default_rng(0).integers(90, 140, shape).astype(dtype)


def frames_of(source):
    return source.read(plan_blocks(source.layout, "none", source.layout.num_frames)[0]).adu_TYX


@pytest.mark.parametrize(
    "layout", [Layout(70, 1, 9, 11), Layout(5, 13, 9, 11), Layout(2, 100, 9, 11), Layout(1, 1, 9, 11)]
)
@pytest.mark.parametrize("sharded", [True, False])
def test_a_created_store_returns_its_frames_and_metadata(layout, sharded, tmp_path):
    array = create_store(
        tmp_path / "a.zarr",
        layout,
        pixel_size=PixelSize(x_nm=98.7, y_nm=1000),
        z_step_nm=400,
        sharded=sharded,
        attributes={"lls_decode": {"truth": "b.csv"}},
    )
    data = camera(array.shape)
    array[...] = data
    source = open_source(tmp_path / "a.zarr")
    assert source.layout == layout
    assert source.pixel_size == PixelSize(x_nm=98.7, y_nm=1000)
    assert source.z_step_nm == (400 if layout.planes_per_volume > 1 else None)
    assert (source.shards is not None) == sharded
    assert source.notes == ()
    np.testing.assert_array_equal(frames_of(source), data.reshape(-1, 9, 11))
    attributes = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())["attributes"]
    assert attributes["ome"]["version"] == "0.5"
    assert attributes["lls_decode"] == {"truth": "b.csv"}


def test_unknown_sizes_stay_unknown(tmp_path):
    create_store(tmp_path / "a.zarr", Layout(2, 3, 9, 11))[...] = camera((2, 3, 9, 11))
    source = open_source(tmp_path / "a.zarr")
    assert (source.pixel_size, source.z_step_nm) == (None, None)


def test_frames_of_zeros_are_stored(tmp_path):
    create_store(tmp_path / "a.zarr", Layout(10, 1, 9, 11))[...] = 0
    assert not frames_of(open_source(tmp_path / "a.zarr")).any()


def test_camera_noise_is_compressed_to_less_than_half(tmp_path):
    data = np.random.default_rng(0).poisson(100, (64, 64, 64)).astype("uint16")
    create_store(tmp_path / "a.zarr", Layout(64, 1, 64, 64))[...] = data
    stored = sum(file.stat().st_size for file in (tmp_path / "a.zarr").rglob("*") if file.is_file())
    assert stored < 0.45 * data.nbytes


@pytest.mark.parametrize(
    ("layout", "chunks", "shards"),
    [
        (Layout(100_000, 1, 512, 512), (2, 512, 512), (64, 512, 512)),
        (Layout(100_000, 1, 64, 64), (8, 64, 64), (64, 64, 64)),
        (Layout(100_000, 1, 2304, 4096), (1, 2304, 4096), (14, 2304, 4096)),
        (Layout(10, 1, 64, 64), (8, 64, 64), (16, 64, 64)),
        (Layout(70_000, 150, 512, 512), (1, 2, 512, 512), (1, 64, 512, 512)),
        (Layout(70_000, 21, 256, 256), (1, 8, 256, 256), (2, 24, 256, 256)),
        (Layout(1, 21, 256, 256), (1, 8, 256, 256), (1, 24, 256, 256)),
    ],
)
def test_chunks_are_whole_planes_and_shards_have_a_suitable_size(layout, chunks, shards):
    assert chunk_shapes(layout, 2) == (chunks, shards)


def test_existing_stores_are_overwritten_on_request_and_other_folders_never(tmp_path):
    layout = Layout(2, 1, 9, 11)
    create_store(tmp_path / "a.zarr", layout)
    with pytest.raises(OutputError, match="exists"):
        create_store(tmp_path / "a.zarr", layout)
    create_store(tmp_path / "a.zarr", Layout(3, 1, 9, 11), overwrite=True)
    assert open_source(tmp_path / "a.zarr").layout.num_volumes == 3
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("x")
    with pytest.raises(OutputError, match="not a zarr store"):
        create_store(tmp_path / "home", layout, overwrite=True)
    assert (tmp_path / "home" / "thesis.txt").exists()
    with pytest.raises(InputError, match="complex64"):
        create_store(tmp_path / "c.zarr", layout, dtype="complex64")


TIFFS = {
    "stack": ((13, 9, 11), {}, {}, Layout(13, 1, 9, 11)),
    "imagej": ((13, 9, 11), {"imagej": True, "metadata": {"axes": "TYX"}}, {}, Layout(13, 1, 9, 11)),
    "imagej planes": ((13, 9, 11), {"imagej": True, "metadata": {"axes": "ZYX"}}, {}, Layout(1, 13, 9, 11)),
    "imagej stack": (
        (13, 9, 11),
        {"description": "ImageJ=1.53\nimages=13\nslices=13\n", "metadata": None},
        {},
        Layout(13, 1, 9, 11),
    ),
    "imagej calibrated stack": (
        (13, 9, 11),
        {"description": "ImageJ=1.53\nimages=13\nslices=13\nunit=um\nspacing=0.4\n", "metadata": None},
        {},
        Layout(1, 13, 9, 11),
    ),
    "named planes": ((13, 9, 11), {"metadata": {"axes": "ZYX"}}, {}, Layout(1, 13, 9, 11)),
    "ome planes by name": ((12, 9, 11), {"ome": True, "metadata": {"axes": "ZYX"}}, {}, Layout(1, 12, 9, 11)),
    "frames labelled channels": ((13, 9, 11), {"imagej": True}, {"axes": "tyx"}, Layout(13, 1, 9, 11)),
    "compressed": ((13, 9, 11), {"compression": "zlib"}, {}, Layout(13, 1, 9, 11)),
    "big-endian": ((13, 9, 11), {"byteorder": ">"}, {}, Layout(13, 1, 9, 11)),
    "volumes by number": ((12, 9, 11), {}, {"planes_per_volume": 4}, Layout(3, 4, 9, 11)),
    "hyperstack": ((3, 4, 9, 11), {"imagej": True, "metadata": {"axes": "TZYX"}}, {}, Layout(3, 4, 9, 11)),
    "ome": ((3, 4, 9, 11), {"ome": True, "metadata": {"axes": "TZYX"}}, {}, Layout(3, 4, 9, 11)),
    "ome planes": ((12, 9, 11), {"ome": True, "metadata": {"axes": "ZYX"}}, {"axes": "zyx"}, Layout(1, 12, 9, 11)),
    "many planes": ((2, 130, 9, 11), {"ome": True, "metadata": {"axes": "TZYX"}}, {}, Layout(2, 130, 9, 11)),
    "one frame": ((9, 11), {}, {}, Layout(1, 1, 9, 11)),
}


@pytest.mark.parametrize(("shape", "write", "options", "layout"), TIFFS.values(), ids=TIFFS)
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_tiff_files_are_converted(shape, write, options, layout, dtype, tmp_path):
    data = camera(shape, dtype)
    name = "a.ome.tif" if write.get("ome") else "a.tif"
    tifffile.imwrite(tmp_path / name, data, photometric="minisblack", **write)
    calls = []
    source = convert(
        tmp_path / name, tmp_path / "a.zarr", progress=lambda done, of: calls.append((done, of)), **options
    )
    assert source.layout == layout
    assert source.dtype == dtype
    np.testing.assert_array_equal(frames_of(source), data.reshape(-1, 9, 11))
    assert calls[-1] == (layout.num_frames, layout.num_frames)
    assert [path.name for path in tmp_path.iterdir() if ".partial" in path.name] == []


def test_planes_stored_before_times_are_reordered(tmp_path):
    data = camera((2, 3, 9, 11))
    tifffile.imwrite(tmp_path / "a.ome.tif", data, metadata={"axes": "ZTYX"})
    source = convert(tmp_path / "a.ome.tif", tmp_path / "a.zarr")
    assert source.layout == Layout(3, 2, 9, 11)
    np.testing.assert_array_equal(frames_of(source), data.swapaxes(0, 1).reshape(-1, 9, 11))


def test_pixel_sizes_of_ome_tiff_are_read_and_can_be_overridden(tmp_path):
    metadata = {
        "axes": "TZYX",
        "PhysicalSizeX": 0.1,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 108,
        "PhysicalSizeYUnit": "nm",
        "PhysicalSizeZ": 0.4,
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", camera((2, 3, 9, 11)), ome=True, metadata=metadata)
    source = convert(tmp_path / "a.ome.tif", tmp_path / "a.zarr")
    assert source.pixel_size == PixelSize(x_nm=100, y_nm=108)
    assert source.z_step_nm == 400
    told = PixelSize(x_nm=90, y_nm=90)
    assert convert(tmp_path / "a.ome.tif", tmp_path / "b.zarr", pixel_size=told).pixel_size == told


@pytest.mark.parametrize("pattern", ["", "/frame*.tif"])
def test_a_directory_of_tiffs_is_read_in_natural_order(pattern, tmp_path):
    data = camera((12, 9, 11))
    (tmp_path / "in").mkdir()
    for i, frame in enumerate(data):
        tifffile.imwrite(tmp_path / "in" / f"frame{i}.tif", frame)
    (tmp_path / "in" / "notes.txt").write_text("x")
    source = convert(f"{tmp_path / 'in'}{pattern}", tmp_path / "a.zarr", planes_per_volume=3)
    assert source.layout == Layout(4, 3, 9, 11)
    np.testing.assert_array_equal(frames_of(source), data)


def test_a_directory_of_volumes_is_converted(tmp_path):
    data = camera((3, 70, 9, 11))
    (tmp_path / "in").mkdir()
    for i, volume in enumerate(data):
        tifffile.imwrite(tmp_path / "in" / f"stack{i}.tif", volume)
    source = convert(tmp_path / "in", tmp_path / "a.zarr", axes="zyx")
    assert source.layout == Layout(3, 70, 9, 11)
    np.testing.assert_array_equal(frames_of(source), data.reshape(-1, 9, 11))


def test_an_ome_tiff_in_several_files_is_read_once(tmp_path):
    (tmp_path / "in").mkdir()
    data = camera((4, 9, 11))
    tifffile.imwrite(tmp_path / "in" / "a_0.ome.tif", data[:2], metadata={"axes": "TYX"})
    tifffile.imwrite(tmp_path / "in" / "a_1.ome.tif", data[2:], metadata={"axes": "TYX"})
    np.testing.assert_array_equal(frames_of(convert(tmp_path / "in", tmp_path / "a.zarr")), data)


def test_leftover_frames_are_kept(tmp_path, caplog):
    data = camera((14, 9, 11))
    tifffile.imwrite(tmp_path / "a.tif", data)
    with caplog.at_level(logging.WARNING):
        source = convert(tmp_path / "a.tif", tmp_path / "a.zarr", planes_per_volume=4)
    assert source.layout == Layout(3, 4, 9, 11)
    assert any("2 of 14 frames" in note for note in source.notes)
    assert "14 frames are not a multiple of 4" in caplog.text
    np.testing.assert_array_equal(frames_of(open_source(tmp_path / "a.zarr")), data)


def test_long_movies_are_written_in_several_pieces(tmp_path):
    data = camera((200, 9, 11))
    tifffile.imwrite(tmp_path / "a.tif", data)
    np.testing.assert_array_equal(frames_of(convert(tmp_path / "a.tif", tmp_path / "a.zarr")), data)
    source = convert(tmp_path / "a.tif", tmp_path / "b.zarr", planes_per_volume=100)
    np.testing.assert_array_equal(frames_of(source), data)


def cut(path):
    tifffile.imwrite(path / "a.tif", camera((13, 64, 64)))
    data = (path / "a.tif").read_bytes()
    (path / "a.tif").write_bytes(data[: len(data) // 2])
    return path / "a.tif"


def unequal(path):
    tifffile.imwrite(path / "1.tif", camera((9, 11)))
    tifffile.imwrite(path / "2.tif", camera((9, 12)))
    return path


def tiff_of(shape, **options):
    def make(path):
        tifffile.imwrite(path / "a.ome.tif", camera(shape, options.pop("dtype", "uint16")), **options)
        return path / "a.ome.tif"

    return make


def bare(name, data, **described):
    def make(path):
        (path / name).write_bytes(data)
        for suffix, text in described.items():
            (path / name).with_suffix(f".{suffix}").write_text(text)
        return path / name

    return make


INF = "data type = 16 bit integers (binary, little endian)\nframe dimensions = 4 x 3\nnumber of frames = 2\n"
BAD_MOVIES = {
    "missing": (lambda p: p / "no.tif", "does not exist"),
    "unknown type": (bare("a.xyz", b"x"), "unknown type '.xyz'.*bioformats2raw a.xyz a.zarr"),
    "not a tiff": (bare("a.tif", b"no tiff"), "cannot be read as TIFF"),
    "truncated": (cut, "truncated|cannot be"),
    "empty folder": (lambda p: p, "has no TIFF files"),
    "unequal frames": (unequal, "must be alike"),
    "channels": (tiff_of((2, 3, 9, 11), metadata={"axes": "CTYX"}), "2 channels: 0, 1; choose one with --channel"),
    "colour": (tiff_of((9, 11, 3), photometric="rgb", dtype="uint8"), "grey frames"),
    "complex": (tiff_of((9, 11), dtype="complex64"), "complex64"),
    "dax without inf": (bare("a.dax", b"x" * 24), "a.inf cannot be read"),
    "dax without size": (bare("a.dax", b"x" * 24, inf="little endian"), "frame dimensions"),
    "dax without order": (bare("a.dax", b"x" * 24, inf="frame dimensions = 4 x 3"), "byte order"),
    "dax too short": (bare("a.dax", b"x" * 20, inf=INF), "fewer than one frame of 3 x 4"),
    "raw without yaml": (bare("a.raw", b"x" * 24), "a.yaml cannot be read"),
    "raw with wrong yaml": (bare("a.raw", b"x" * 24, yaml="Frames: 2"), "does not describe a.raw"),
}


@pytest.mark.parametrize(("make", "message"), BAD_MOVIES.values(), ids=BAD_MOVIES)
def test_unusable_movies_are_refused_and_leave_no_files(make, message, tmp_path, caplog):
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match=message):
        convert(make(tmp_path / "in"), tmp_path / "a.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_missing_tifffile_is_reported_with_the_command_to_install_it(tmp_path, monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name == "tifffile":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    tifffile.imwrite(tmp_path / "a.tif", camera((2, 9, 11)), compression="zlib")
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(InputError, match=r"pip install 'lls-decode\[convert\]'"):
        convert(tmp_path / "a.tif", tmp_path / "a.zarr")


@pytest.mark.parametrize("order", ["big", "little"])
def test_dax_files_of_either_byte_order_are_salvaged(order, tmp_path):
    data = camera((5, 3, 4))
    (tmp_path / "a.dax").write_bytes(data.astype(">u2" if order == "big" else "<u2").tobytes() + b"abc")
    (tmp_path / "a.inf").write_text(INF.replace("little", order))
    with pytest.raises(InputError, match=r"a\.inf states 2 frames, a\.dax holds 5, it ends with 3 bytes.*--salvage"):
        convert(tmp_path / "a.dax", tmp_path / "a.zarr")
    source = convert(tmp_path / "a.dax", tmp_path / "a.zarr", salvage=True)
    np.testing.assert_array_equal(frames_of(source), data)
    assert any("a.inf states 2 frames, a.dax holds 5" in note for note in source.notes)


def test_more_planes_than_frames_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", camera((6, 9, 11)))
    with pytest.raises(InputError, match="6 frames, fewer than one volume of 7"):
        convert(tmp_path / "a.tif", tmp_path / "a.zarr", planes_per_volume=7)
    with pytest.raises(ConfigError, match="expected 1 or more"):
        convert(tmp_path / "a.tif", tmp_path / "a.zarr", planes_per_volume=0)


def test_an_unwritable_output_is_an_output_error(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", camera((6, 9, 11)))
    with pytest.raises(OutputError, match="cannot be"):
        convert(tmp_path / "a.tif", tmp_path / "a.tif" / "a.zarr")


def test_a_store_is_overwritten_on_request_only(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", camera((6, 9, 11)))
    convert(tmp_path / "a.tif", tmp_path / "a.zarr")
    with pytest.raises(OutputError, match="exists"):
        convert(tmp_path / "a.tif", tmp_path / "a.zarr")
    assert convert(tmp_path / "a.tif", tmp_path / "a.zarr", overwrite=True, planes_per_volume=3).layout.num_volumes == 2


def test_the_report_of_inspect_is_json_with_costs_and_saturation(tmp_path):
    data = camera((3, 16, 9, 11))
    data[1, 8, :4] = 65535
    data[2, 15] = 100
    array = zarr.create_array(tmp_path / "a.zarr", shape=data.shape, dtype="uint16", chunks=(3, 4, 9, 11))
    array[...] = data
    source = open_source(tmp_path / "a.zarr")
    report = json.loads(json.dumps(inspect_source(source, sample_frames=48, block_frames=16)))
    assert report["read_amplification"] == 3.0  # a block is one volume, but a chunk has planes of three volumes
    assert (report["volumes"], report["planes_per_volume"], report["frames"]) == (3, 16, 48)
    assert report["intensity"]["max"] == 65535
    assert report["intensity"]["saturated_fraction"] == pytest.approx(44 / data.size)
    assert report["intensity"]["constant_frames"] == "volume 2, plane 15"
    assert report["damaged"] == []
    assert any("all pixels have the same value" in note for note in report["notes"])
    blocks = plan_blocks(source.layout, "plane", 4)
    assert decoded_pixels(source, blocks[1]) == 3 * 12 * 99  # the preceding and following planes are in other chunks


def test_third_party_movies_are_converted(shared_data, tmp_path):
    movies = shared_data / "movies"
    dax = np.fromfile(movies / "storm_scmos_real" / "sample.dax", ">u2").reshape(-1, 256, 256)
    with pytest.raises(InputError, match=r"states 10 frames, sample\.dax holds 11"):
        convert(movies / "storm_scmos_real" / "sample.dax", tmp_path / "dax.zarr")
    source = convert(movies / "storm_scmos_real" / "sample.dax", tmp_path / "dax.zarr", salvage=True)
    assert source.layout.num_frames == 11
    assert any("states 10 frames" in note for note in source.notes)
    np.testing.assert_array_equal(frames_of(source), dax)

    path = movies / "nairr_3DAS_LD" / "3DAS_LD_Validate_Frame.tif"
    np.testing.assert_array_equal(frames_of(convert(path, tmp_path / "nairr.zarr")), tifffile.imread(path))

    files = sorted((movies / "challenge_2d_150nm" / "sequence").glob("*.tif"))
    source = convert(movies / "challenge_2d_150nm" / "sequence", tmp_path / "challenge.zarr")
    np.testing.assert_array_equal(frames_of(source), np.stack([tifffile.imread(file) for file in files]))

    raw = np.fromfile(movies / "picasso_sim" / "testdata.raw", "<u2").reshape(100, 32, 32)
    source = convert(movies / "picasso_sim" / "testdata.raw", tmp_path / "picasso.zarr")
    np.testing.assert_array_equal(frames_of(source), raw)
    assert source.pixel_size == PixelSize(x_nm=160, y_nm=160)


def test_a_third_party_deskewed_stack_is_recognized(shared_data, tmp_path):
    pair = shared_data / "lls" / "deskew_pair"
    raw = convert(pair / "im_raw_rows100-131.tif", tmp_path / "r.zarr", planes_per_volume=88)
    assert raw.notes == ()
    deskewed = convert(pair / "im_deskewed_rows100-131.tif", tmp_path / "d.zarr", planes_per_volume=88)
    assert any("looks deskewed" in note for note in deskewed.notes)
