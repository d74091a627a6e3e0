"""Announced frames, found frames and bytes of a file must agree; whole frames can be salvaged on request."""

import json

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

from lls_decode.errors import ConfigError, InputError
from lls_decode.movies import convert, open_movie
from lls_decode.movies.accounting import end_of_data, ranges
from lls_decode.movies.choices import Choices
from lls_decode.pipelines.cli import cli
from tests.movies.any_movie import H, W, _end_chain, offsets

tifffile = pytest.importorskip("tifffile")

MOVIE = np.random.default_rng(0).integers(90, 400, (12, H, W)).astype("uint16")
FRAME = MOVIE[0].nbytes


def pages(path, data=MOVIE, **options):
    with tifffile.TiffWriter(path) as writer:
        for frame in data:
            writer.write(frame, contiguous=False, photometric="minisblack", metadata=None, **options)


def change(path, data):
    path.write_bytes(data)
    return path


def imagej_cut(path):
    tifffile.imwrite(path, MOVIE, imagej=True, metadata={"axes": "TYX"})
    start = int(offsets(path)[0])
    return change(path, path.read_bytes()[: start + 7 * FRAME + 11])


def imagej_without_pages(path):
    """Write a file like those of ImageJ above 4 GB: one page followed by all pixels."""
    text = "ImageJ=1.53\nimages=12\nframes=12\n"
    tifffile.imwrite(path, MOVIE[:1], photometric="minisblack", description=text, metadata=None)
    return change(path, path.read_bytes() + MOVIE[1:].tobytes())


def imagej_without_pages_cut(path):
    imagej_without_pages(path)
    return change(path, path.read_bytes()[:-FRAME])


def list_ends(path):
    pages(path)
    _end_chain(path, bytearray(path.read_bytes()), 8)
    return path


def list_cut(path):
    pages(path)
    return change(path, path.read_bytes()[: int(offsets(path)[8]) + 20])


def zero_tail(path):
    pages(path)
    data, at = path.read_bytes(), int(offsets(path)[8]) + 20
    return change(path, data[:at] + bytes(len(data) - at))


def zero_tail_in_one_piece(path):
    tifffile.imwrite(path, MOVIE, photometric="minisblack", metadata=None)
    data, at = path.read_bytes(), int(offsets(path)[0]) + 8 * FRAME
    return change(path, data[:at] + bytes(len(data) - at))


def more_behind(path):
    pages(path)
    return change(path, path.read_bytes() + MOVIE[:2].tobytes())


def strip_lost(path):
    pages(path, compression="zlib", rowsperstrip=4)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages[4].dataoffsets[1]
    data[at : at + 6] = b"\xff" * 6
    return change(path, data)


def strip_absent(path):
    pages(path, compression="lzw")
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages[4].tags["StripByteCounts"].valueoffset
    data[place : place + 4] = bytes(4)
    return change(path, data)


def ome_announces_fewer(path):
    tifffile.imwrite(path, MOVIE[:9], ome=True, metadata={"axes": "TYX"})
    data = path.read_bytes().replace(b'SizeT="9"', b'SizeT="8"')
    return change(path, data.replace(b'PlaneCount="9"', b'PlaneCount="8"'))


DAMAGED = {
    "imagej, truncated": (imagej_cut, range(7), "announced 12 frames, 7 complete, .* bytes: truncated"),
    "imagej without pages, truncated": (imagej_without_pages_cut, range(11), "announced 12 frames, 11 complete"),
    "list of pages ends early": (list_ends, range(8), "8 complete, .*belong to no page, room for 4 frames"),
    "list of pages truncated": (list_cut, range(8), "8 complete, .*truncated"),
    "zeros at the end": (zero_tail, range(8), "8 complete, .*zeros"),
    "zeros in one piece": (zero_tail_in_one_piece, range(8), "8 complete, .*zeros"),
    "more bytes than pages": (more_behind, range(12), f"12 complete, .*{2 * FRAME} bytes .* belong to no page"),
    "damaged strip of a page": (strip_lost, [0, 1, 2, 3, *range(5, 12)], "page 4 cannot be decoded"),
    "missing strip of a page": (strip_absent, [0, 1, 2, 3, *range(5, 12)], "11 complete, .*truncated"),
    "fewer frames announced than stored": (ome_announces_fewer, range(8), "announces 8 frames, its list has 9 pages"),
}  # fmt: skip


def every_frame(source):
    layout = source.layout
    return source.read_frames(np.stack(np.divmod(np.arange(layout.num_frames), layout.planes_per_volume), axis=1))


@pytest.mark.parametrize(("make", "whole", "message"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_refused_with_counts_and_salvaged_on_request(make, whole, message, tmp_path, caplog, capfd):
    path = make(tmp_path / "a.tif")
    with pytest.raises(InputError, match=message) as refusal:
        convert(path, tmp_path / "a.zarr")
    assert "--salvage" in str(refusal.value)
    assert not (tmp_path / "a.zarr").exists()
    source = convert(path, tmp_path / "b.zarr", salvage=True)
    np.testing.assert_array_equal(every_frame(source), MOVIE[list(whole)])
    record = zarr.open_group(tmp_path / "b.zarr", mode="r").attrs["lls_decode"]["salvage"]
    assert record["frames_taken"] == len(whole)
    assert [item["file"] for item in record["missing"]] == ["a.tif"]
    assert any("some announced frames are missing from this store: a.tif" in note for note in source.notes)
    assert "tifffile" not in caplog.text + "".join(capfd.readouterr())


def test_a_damaged_tag_loses_no_frame_and_is_reported_in_our_words(tmp_path, caplog, capfd):
    pages(tmp_path / "a.tif", compression="zlib")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        place = tiff.pages[4].tags["XResolution"].offset + 8
    data[place : place + 4] = b"\xff\xff\xff\x7f"
    path = change(tmp_path / "a.tif", data)
    with pytest.raises(InputError, match=r"it refers to byte \d+, beyond its end.*--salvage"):
        open_movie(path)
    np.testing.assert_array_equal(every_frame(convert(path, tmp_path / "a.zarr", salvage=True)), MOVIE)
    assert "tifffile" not in caplog.text + "".join(capfd.readouterr())


def test_frames_without_pages_in_imagej_files_are_read(tmp_path):
    path = imagej_without_pages(tmp_path / "a.tif")
    np.testing.assert_array_equal(every_frame(convert(path, tmp_path / "a.zarr")), MOVIE)


def test_dark_frames_at_the_end_are_not_mistaken_for_damage(tmp_path):
    data = MOVIE.copy()
    data[:, :, 0] = 0
    data[-2:] = 0
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack", metadata=None)
    np.testing.assert_array_equal(every_frame(convert(tmp_path / "a.tif", tmp_path / "a.zarr")), data)


def test_convert_exits_with_status_3_and_inspect_lists_missing_frames(tmp_path):
    path, run = list_ends(tmp_path / "a.tif"), CliRunner().invoke
    refused = run(cli, ["convert", str(path), str(tmp_path / "a.zarr")])
    assert isinstance(refused.exception, InputError)
    assert refused.exception.exit_status == 3
    assert run(cli, ["convert", str(path), str(tmp_path / "a.zarr"), "--salvage"]).exit_code == 0
    for option in ([], ["--verify"]):
        shown = run(cli, ["inspect", str(tmp_path / "a.zarr"), *option])
        assert "missing                  a.tif: unclaimed bytes" in shown.output
    told = json.loads(run(cli, ["inspect", str(tmp_path / "a.zarr"), "--json"]).stdout)
    assert len(told["missing"]) == 1


def test_a_complete_store_reports_no_missing_frames(tmp_path):
    pages(tmp_path / "a.tif")
    source = convert(tmp_path / "a.tif", tmp_path / "a.zarr", salvage=True)
    assert source.notes == ()
    assert "salvage" not in zarr.open_group(tmp_path / "a.zarr", mode="r").attrs["lls_decode"]
    assert "missing" not in CliRunner().invoke(cli, ["inspect", str(tmp_path / "a.zarr")]).output


def test_volumes_are_not_formed_across_missing_frames(tmp_path):
    path = strip_lost(tmp_path / "a.tif")
    with pytest.raises(
        InputError, match="lacks frames between other frames, so 3 consecutive frames may not be one volume"
    ):
        convert(path, tmp_path / "a.zarr", salvage=True, planes_per_volume=3)
    movie = open_movie(path, Choices(axes="zyx", salvage=True))
    assert (movie.num_frames, movie.planes) == (11, 1)


def test_complete_volumes_of_a_damaged_stack_are_kept(tmp_path):
    text = {"axes": "TZYX"}
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(MOVIE.reshape(3, 4, H, W), photometric="minisblack", metadata=text, compression="zlib")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        at = tiff.pages[5].dataoffsets[0]
    data[at : at + 6] = b"\xff" * 6
    (tmp_path / "a.tif").write_bytes(data)
    source = convert(tmp_path / "a.tif", tmp_path / "a.zarr", salvage=True, allow_gaps=True)
    assert source.layout.planes_per_volume == 4
    np.testing.assert_array_equal(every_frame(source), np.concatenate([MOVIE[:4], MOVIE[8:]]))


def test_a_salvaged_movie_has_its_own_identity(tmp_path):
    whole = open_movie(list_ends(tmp_path / "a.tif"), Choices(salvage=True)).identity()
    pages(tmp_path / "b.tif", MOVIE[:8])
    assert open_movie(tmp_path / "b.tif").identity() != whole


def test_frame_ranges_trailing_zeros_and_unknown_pattern_fields(tmp_path):
    assert ranges([7, 0, 1, 2, 3]) == "0-3, 7"
    assert ranges([]) == "none"
    assert end_of_data(change(tmp_path / "a", b"\0\1" + bytes(3 << 20))) == 2
    assert end_of_data(change(tmp_path / "a", bytes(5))) == 0
    with pytest.raises(ConfigError, match=r"the field \{q\}"):
        open_movie(list_ends(tmp_path / "a.tif").parent, Choices(pattern="a{q}"))
