"""Camera maps are read from every supported file format, and reduced to the camera that training simulates."""

import os
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from scipy.io import savemat

from lls_decode.config import ScmosCamera, ScmosChip
from lls_decode.errors import ConfigError

GAIN = np.random.default_rng(0).uniform(1, 3, (6, 9))
SIZE = (6, 9)
CAMERA = ScmosCamera(offset_adu=100.0, gain_adu_per_e=2.0, variance_adu2=4.0)


def npy(path: Path) -> str:
    np.save(path.with_suffix(".npy"), GAIN)
    return f"{path}.npy"


def npz(path: Path) -> str:
    np.savez(path.with_suffix(".npz"), GAIN)
    return f"{path}.npz"


def npz_of_several(path: Path) -> str:
    np.savez_compressed(path.with_suffix(".npz"), offset=0 * GAIN, gain=GAIN, variance=GAIN + 1)
    return f"{path}.npz"


def npz_by_name(path: Path) -> str:
    np.savez(path.with_suffix(".npz"), dark=0 * GAIN, amplification=GAIN)
    return f"{path}.npz::amplification"


def tiff(path: Path) -> str:
    tifffile.imwrite(path.with_suffix(".tif"), GAIN)
    return f"{path}.tif"


def matlab_5(path: Path) -> str:
    savemat(path.with_suffix(".mat"), {"gainmap": GAIN, "note": "of our camera", "exposure_ms": 20.0})
    return f"{path}.mat"


def matlab_5_struct(path: Path) -> str:
    savemat(path.with_suffix(".mat"), {"cal": {"offset": 0 * GAIN, "gain": GAIN, "var": GAIN}})
    return f"{path}.mat"


def matlab_73(path: Path) -> str:
    """Write a MATLAB 7.3 file: HDF5 after a user block of 512 bytes, with reversed axes."""
    with h5py.File(path.with_suffix(".mat"), "w", userblock_size=512) as file:
        for name, values in (("cal/gain", GAIN), ("cal/offset", 0 * GAIN)):
            file.create_dataset(name, data=values.T).attrs["MATLAB_class"] = np.bytes_("double")
        comment = file.create_dataset("comment", data=np.array([[111], [117]], dtype=np.uint16))
        comment.attrs["MATLAB_class"] = np.bytes_("char")
    with path.with_suffix(".mat").open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(128, b"\0"))
    return f"{path}.mat"


WRITERS = [npy, npz, npz_of_several, npz_by_name, tiff, matlab_5, matlab_5_struct, matlab_73]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_maps_are_read_from_every_format(write: Callable[[Path], str], tmp_path: Path) -> None:
    camera = CAMERA.replace(gain_adu_per_e=write(tmp_path / "gain"))
    np.testing.assert_array_equal(camera.read_values(SIZE)["gain_adu_per_e"], GAIN)
    relative = camera.replace(gain_adu_per_e=str(Path(camera.gain_adu_per_e).name))
    assert relative.resolve(tmp_path) == camera
    digest = camera.identity()["gain_adu_per_e"]
    assert digest.startswith("sha256:")


def damaged(path: Path, suffix: str, content: bytes = b"neither this nor that") -> str:
    path.with_suffix(suffix).write_bytes(content)
    return f"{path}{suffix}"


def several(path: Path) -> str:
    np.savez(path.with_suffix(".npz"), one=GAIN, two=GAIN)
    return f"{path}.npz"


def stack(path: Path) -> str:
    tifffile.imwrite(path.with_suffix(".tif"), np.stack([GAIN] * 3), photometric="minisblack")
    return f"{path}.tif"


def no_numbers(path: Path) -> str:
    np.save(path.with_suffix(".npy"), np.full(SIZE, "high"))
    return f"{path}.npy"


BAD: dict[str, tuple[Callable[[Path], str], str]] = {
    "damaged npy": (lambda path: damaged(path, ".npy"), "cannot be read"),
    "damaged npz": (lambda path: damaged(path, ".npz"), "cannot be read .*not a zip archive"),
    "damaged tiff": (lambda path: damaged(path, ".tif"), "cannot be read"),
    "damaged mat": (lambda path: damaged(path, ".mat"), "cannot be read"),
    "damaged mat v7.3": (lambda path: damaged(path, ".mat", bytes(512) + b"\x89HDF\r\n\x1a\n"), "cannot be read"),
    "missing file": (lambda path: f"{path}.tif", r"cannot be read .*gain\.tif"),
    "unknown file type": (lambda path: damaged(path, ".xlsx"), r"unknown type '\.xlsx'; give a number, or a \.npy"),
    "several arrays": (several, r"arrays one, two, expected one array.*gain\.npz::one"),
    "no such array": (lambda path: several(path) + "::three", "arrays one, two, not 'three'"),
    "a stack": (stack, r"shape \(3, 6, 9\), expected rows and columns"),
    "text instead of numbers": (no_numbers, "expected numbers"),
}


@pytest.mark.parametrize(("write", "words"), BAD.values(), ids=BAD.keys())
def test_files_without_a_valid_map_are_refused(write: Callable[[Path], str], words: str, tmp_path: Path) -> None:
    camera = CAMERA.replace(gain_adu_per_e=write(tmp_path / "gain"))
    with pytest.raises(ConfigError, match=rf"^camera\.gain_adu_per_e: map .*{words}"):
        camera.read_values(SIZE)


def test_the_array_suggested_by_the_error_can_be_read(tmp_path: Path) -> None:
    camera = CAMERA.replace(gain_adu_per_e=several(tmp_path / "gain"))
    with pytest.raises(ConfigError) as caught:
        camera.read_values(SIZE)
    advised = str(caught.value).rpartition(", ")[2].removesuffix(".")
    np.testing.assert_array_equal(CAMERA.replace(gain_adu_per_e=advised).read_values(SIZE)["gain_adu_per_e"], GAIN)


def test_impossible_numbers_are_refused_by_the_configuration() -> None:
    for name, value, words in (("gain_adu_per_e", 0.0, "positive gain"), ("variance_adu2", -1.0, "never below 0")):
        with pytest.raises(ConfigError, match=words):
            CAMERA.replace(**{name: value})


def maps_with_broken_pixels(folder: Path) -> ScmosCamera:
    """Return a camera of 96 x 96 pixels whose maps have outliers at 11 broken pixels."""
    random, size = np.random.default_rng(1), (96, 96)
    maps = {
        "offset_adu": random.normal(100, 3, size),
        "gain_adu_per_e": random.normal(2.1, 0.05, size),
        "variance_adu2": 6 * np.exp(0.3 * random.normal(size=size)),
    }
    broken = random.choice(96 * 96, 11, replace=False)
    for name, value in (("offset_adu", 3000.0), ("gain_adu_per_e", 90.0), ("variance_adu2", 1e7)):
        maps[name].ravel()[broken] = value
        np.save(folder / f"{name}.npy", maps[name])
    return ScmosCamera(**{name: str(folder / f"{name}.npy") for name in maps}, quantum_efficiency=0.8)


def test_broken_pixels_do_not_bias_the_training_camera(tmp_path: Path) -> None:
    chip = maps_with_broken_pixels(tmp_path).for_training()
    assert isinstance(chip, ScmosChip)
    assert (chip.offset_adu, chip.offset_sd_adu) == (pytest.approx(100, abs=0.1), pytest.approx(3, rel=0.05))
    assert (chip.gain_adu_per_e, chip.gain_sd_adu_per_e) == (
        pytest.approx(2.1, abs=0.01),
        pytest.approx(0.05, rel=0.05),
    )
    assert (chip.variance_adu2, chip.variance_spread) == (pytest.approx(6, rel=0.02), pytest.approx(0.3, rel=0.05))
    assert chip.hot_fraction == pytest.approx(11 / 96**2, abs=3e-4)
    assert chip.quantum_efficiency == 0.8


def test_a_value_shared_by_all_pixels_is_kept_exactly(tmp_path: Path) -> None:
    np.save(tmp_path / "variance.npy", np.random.default_rng(0).uniform(3, 5, (20, 20)))
    camera = ScmosCamera(offset_adu=100.123, gain_adu_per_e=2.0987, variance_adu2=str(tmp_path / "variance.npy"))
    chip = camera.for_training((20, 20))
    assert isinstance(chip, ScmosChip)
    assert (chip.offset_adu, chip.offset_sd_adu) == (100.123, 0)
    assert (chip.gain_adu_per_e, chip.gain_sd_adu_per_e) == (2.0987, 0)
    even = camera.replace(variance_adu2=4.0)
    assert even.for_training() is even


def large_npz(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("offset_adu.npy", bytes(513 << 20))


def large_matlab(path: Path) -> None:
    """Write a MATLAB file with a compressed matrix of 513 MB."""
    matrix = zlib.compress(bytes(513 << 20), 1)
    tag = (15).to_bytes(4, "little") + len(matrix).to_bytes(4, "little")
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\x01IM" + tag + matrix)


def large_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("offset", shape=(1 << 20, 1 << 20), dtype="f8", chunks=(64, 64))


LARGE: dict[str, Callable[[Path], None]] = {
    "large.npz": large_npz,
    "large.mat": large_matlab,
    "v73.mat": large_hdf5,
    "zeros.npy": lambda path: path.touch() or os.truncate(path, 1 << 33),
}


@pytest.mark.parametrize("name", LARGE)
def test_maps_that_no_camera_has_are_refused_before_they_are_unpacked(name: str, tmp_path: Path) -> None:
    LARGE[name](tmp_path / name)
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match=r"cannot be read \(it holds [\d,]+ bytes or more, expected at most"):
            CAMERA.replace(offset_adu=str(tmp_path / name)).read_values(SIZE)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes need POSIX")
@pytest.mark.parametrize("ending", [".npy", ".npz", ".tif", ".mat"])
def test_a_pipe_is_refused_because_reading_it_blocks(ending: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"pipe{ending}")
    with pytest.raises(ConfigError, match="is a named pipe"):
        CAMERA.replace(offset_adu=str(tmp_path / f"pipe{ending}")).read_values(SIZE)
