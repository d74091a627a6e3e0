"""Following the advice of errors, step by step, leads to a converted store."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import zarr

from lls_decode.errors import InputError, LlsDecodeError
from lls_decode.movies import convert, open_movie
from tests.movies import test_accounting as damaged
from tests.movies import test_series as series
from tests.movies.test_lls_folder import janelia, settings_text
from tests.movies.test_lls_folder import write as write_lls
from tests.movies.test_ndtiff import camera, grid, without, write_ndtiff
from tests.movies.test_what_files_say import MOVIE, shaped

tifffile = pytest.importorskip("tifffile")

MAX_STEPS = 4


def follow(message, folder, options):
    """Return the path and options that a message suggests, or None if it suggests none."""
    changed = dict(options)
    if found := re.search(r"omit --(\w+)", message):
        changed.pop(found[1])
        return folder, changed
    if "give one of these" in message:
        name = re.search(r"folders with TIFF files: ([^;,]+)", message)[1]
        return folder / name, changed
    if found := re.search(r"choose one with --(channel|position)", message):
        listed = re.search(rf"(?:{found[1]}s: |it has )([^,;:]*)", message)
        return folder, {**changed, found[1]: re.sub(r" \(.*\)", "", listed[1])}
    if found := re.search(r"'([^']*)' with --axes (\w+)", message):
        return found[1], {**changed, "axes": found[2]}
    if found := re.findall(r"--pattern '([^']*)'", message):
        return folder, {**changed, "pattern": found[-1]}
    if found := re.search(r"--axes (\w+)", message):
        return folder, {**changed, "axes": found[1]}
    for option in ("--allow-gaps", "--salvage"):
        if option in message:
            return folder, {**changed, option[2:].replace("-", "_"): True}
    if "omit planes_per_volume" in message:
        changed.pop("planes_per_volume")
        return folder, changed
    return None


def ndtiff_without_time(folder):
    return write_ndtiff(folder, [item for item in grid(camera(4, 2), "time", "z") if item[0]["time"] != 1])


def lls_channels(folder):
    return write_lls(folder, {janelia(c, t, 488 + c): MOVIE[:4] for c in range(2) for t in range(2)})


def other_shape(folder):
    series.write(folder, ["v0.tif", "v1.tif"], 2)
    tifffile.imwrite(folder / "MIP.tif", MOVIE[0], photometric="minisblack")
    return folder


def in_folder(folder):
    folder.mkdir()
    series.write(folder / "Pos0", ["v0.tif", "v1.tif"], 2)
    return folder


def short_volume(folder):
    series.write(folder, ["v0.tif", "v1.tif", "v2.tif"], 10)
    tifffile.imwrite(folder / "v1.tif", MOVIE[:7], photometric="minisblack", metadata=None)
    return folder


def of_file(make):
    def place(folder):
        folder.mkdir()
        return make(folder / "a.tif") or folder / "a.tif"

    return place


INPUTS = {
    **{f"damaged: {name}": (of_file(case[0]), {}) for name, case in damaged.DAMAGED.items()},
    **{
        f"series: {name}": (lambda folder, case=case: series.write(folder, case[0], case[1]), {})
        for name, case in series.REFUSED.items()
    },
    "short volume": (short_volume, {"axes": "zyx"}),
    "channels of a file": (of_file(shaped("CTYX", (2, 6))), {}),
    "channels that are frames": (of_file(shaped("CYX", (12,))), {}),
    "positions of a file": (of_file(shaped("PTYX", (2, 6))), {}),
    "unknown axes": (of_file(shaped("AZYX", (2, 6))), {}),
    "axes of too few letters": (of_file(shaped("TZYX", (2, 6))), {"axes": "zyx"}),
    "a channel of a movie without channels": (of_file(shaped("TYX", (12,))), {"channel": "1"}),
    "a position of a movie without positions": (of_file(shaped("TYX", (12,))), {"position": "1"}),
    "an unknown channel": (lls_channels, {"channel": "7"}),
    "a pattern without match": (lambda f: series.write(f, ["v0.tif", "v1.tif"], 2), {"pattern": "w*"}),
    "a pattern for one file": (of_file(shaped("TYX", (12,))), {"pattern": "w*"}),
    "lls channels": (lls_channels, {}),
    "lls names": (lambda f: write_lls(f, {"a_1.tif": MOVIE[:4], "a_2.tif": MOVIE[4:8]}, settings_text()), {}),
    "an unrelated file": (other_shape, {}),
    "ndtiff, missing time": (ndtiff_without_time, {}),
    "ndtiff, missing file": (lambda f: without(write_ndtiff(f, grid(camera(8), "time")), "a_NDTiffStack_1.tif"), {}),
    "ndtiff, channels": (lambda f: write_ndtiff(f, grid(camera(2, 3), "channel", "time")), {}),
    "volumes across a gap": (of_file(damaged.strip_lost), {"salvage": True, "planes_per_volume": 3}),
    "folders": (in_folder, {}),
}


@pytest.mark.parametrize(("make", "options"), INPUTS.values(), ids=INPUTS)
def test_following_the_advice_ends_in_a_store(make, options, tmp_path):
    path, seen = make(tmp_path / "in"), []
    for _ in range(MAX_STEPS):
        try:
            source = convert(path, tmp_path / "a.zarr", **options)
            break
        except LlsDecodeError as error:
            seen.append(str(error))
            step = follow(seen[-1], path, options)
        assert step is not None, f"no advice in: {seen[-1]}"
        assert step != (path, options), f"the advice changes nothing: {seen}"
        path, options = step
    else:
        pytest.fail("\n".join(seen))
    assert seen, "nothing was refused"
    assert source.layout.num_frames > 0
    assert np.isfinite(source.read_frames(np.zeros((1, 2), int))).all()


@pytest.mark.parametrize(("name", "other"), [("a.zarr", "a.tif"), ("a.lsm", "a.tif"), ("a.mat", "a.h5")])
def test_a_file_with_another_suffix_is_recognised_and_read_after_renaming(name, other, tmp_path):
    if other == "a.h5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(tmp_path / name, "w") as file:
            file["frames"] = MOVIE
    else:
        tifffile.imwrite(tmp_path / other, MOVIE, photometric="minisblack")
        (tmp_path / other).rename(tmp_path / name)
    with pytest.raises(InputError, match=rf"rename it to {re.escape(other)}\.$"):
        open_movie(tmp_path / name)
    (tmp_path / name).rename(tmp_path / other)
    assert np.array_equal(open_movie(tmp_path / other).read(0, len(MOVIE)), MOVIE)


def test_a_zip_with_the_name_of_a_folder_is_read_after_renaming(tmp_path):
    zarr.save(str(tmp_path / "b.zarr"), MOVIE)
    shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "b.zarr")
    (tmp_path / "a.zip").rename(tmp_path / "a.zarr")
    with pytest.raises(InputError, match=r"rename it to a\.zarr\.zip\.$"):
        open_movie(tmp_path / "a.zarr")
    (tmp_path / "a.zarr").rename(tmp_path / "a.zarr.zip")
    assert np.array_equal(open_movie(tmp_path / "a.zarr.zip").read(0, len(MOVIE)), MOVIE)


@pytest.mark.parametrize("save", [np.save, np.savez])
def test_the_command_for_numpy_files_works(save, tmp_path):
    path = tmp_path / ("a.npy" if save is np.save else "a.npz")
    save(path, MOVIE)
    with pytest.raises(InputError, match="python -c") as caught:
        open_movie(path)
    code = re.search(r'python -c "(.*)"\.$', str(caught.value))
    subprocess.run([sys.executable, "-c", code[1]], cwd=tmp_path, check=True)
    assert np.array_equal(open_movie(tmp_path / "a.zarr").read(0, len(MOVIE)), MOVIE)


def test_a_truncated_zip_is_refused_as_such(tmp_path):
    zarr.save(str(tmp_path / "b.zarr"), MOVIE)
    path = tmp_path / "a.zip"
    shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "b.zarr")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(
        InputError, match=r"a\.zip is not a complete zip: the list of its files, at its end, is missing"
    ):
        open_movie(path)
