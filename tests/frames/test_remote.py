"""Remote stores give the same frames as local ones, and transfer only the chunks that are needed."""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import zarr

from lls_decode.axes import Layout
from lls_decode.blocks import plan_blocks
from lls_decode.config import InputConfig, StorageConfig
from lls_decode.errors import AccessError
from lls_decode.frames import create_store, open_source, verify_store
from lls_decode.movies import convert
from tests.frames.test_open import camera, write, write_v2_ome
from tests.remote_servers import BUCKET, Accident, Served, upload, zip_store

T, Z, Y, X = 6, 16, 24, 32


def sharded(path: Path) -> Path:
    array = create_store(path, Layout(T, Z, Y, X))
    array[:] = camera((T, Z, Y, X))
    return path


def stream(path: Path) -> Path:
    """Write a store with one plane per chunk and all chunks in one shard."""
    return write(path, camera((64, Y, X)), chunks=(1, Y, X), shards=(64, Y, X), dimension_names=["t", "y", "x"])


STORES = {
    "sharded OME 0.5": sharded,
    "OME 0.4 in zarr v2": lambda path: write_v2_ome(path, camera((T, Z, Y, X)), "tzyx", [1, 0.3, 0.1, 0.1]),
    "zip": lambda path: zip_store(sharded(path.with_name("whole.zarr")), path.with_suffix(".zarr.zip")),
    "compressed zip": lambda path: zip_store(
        sharded(path.with_name("whole.zarr")), path.with_suffix(".zarr.zip"), compressed=True
    ),
    "blank in the name": lambda path: stream(path.with_name("cell 1 (a+b).zarr")),
}


def remotely(scheme: str, path: Path, s3: Served, web: Served) -> tuple[str, InputConfig]:
    """Return the address of a remote copy of a store, and the configuration needed to read it."""
    if scheme == "file":
        return path.as_uri(), InputConfig()
    if scheme == "http":
        return f"{web.address}/{path.name}", InputConfig()
    name = f"{path.parent.name}/{path.name}"
    upload(s3.upstream, BUCKET, path, name, acl="public-read" if scheme == "gs" else "private")
    # the test server understands requests of Google's client, but not its signatures
    storage = StorageConfig(endpoint=s3.address, anonymous=True) if scheme == "gs" else StorageConfig()
    return f"{scheme}://{BUCKET}/{name}", InputConfig(storage=storage)


@pytest.mark.parametrize("scheme", ["file", "http", "s3", "gs"])
@pytest.mark.parametrize("make", STORES.values(), ids=STORES)
def test_remote_stores_have_the_frames_and_identity_of_local_ones(make, scheme, tmp_path, s3, web):
    path = make(tmp_path / "cell.zarr")
    local = open_source(path)
    address, config = remotely(scheme, path, s3, web)
    remote = open_source(address, config)
    assert remote.identity == local.identity
    assert (remote.layout, remote.pixel_size, remote.z_step_nm) == (local.layout, local.pixel_size, local.z_step_nm)
    for block in plan_blocks(local.layout, "time", 40):
        np.testing.assert_array_equal(remote.read(block).adu_TYX, local.read(block).adu_TYX)


@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_a_remote_array_given_by_its_path_uses_the_metadata_of_its_image(scheme, tmp_path, s3, web):
    path = write_v2_ome(tmp_path / "cell.zarr", camera((T, Z, Y, X)), "tzyx", [1, 0.3, 0.1, 0.1])
    address, config = remotely(scheme, path, s3, web)
    assert open_source(f"{address}/0", config).z_step_nm == 300


@pytest.mark.parametrize("index_location", ["start", "end"])
@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_a_block_transfers_only_the_bytes_of_its_chunks(scheme, index_location, tmp_path, s3, web):
    data = camera((256, 64, 64))
    chunks = {"shape": (256, 64, 64), "index_location": index_location}
    path = write(tmp_path / "cell.zarr", data, chunks=(1, 64, 64), shards=chunks, dimension_names=["t", "y", "x"])
    address, config = remotely(scheme, path, s3, web)
    source = open_source(address, config)
    server = s3 if scheme == "s3" else web
    server.answers.clear()
    block = plan_blocks(source.layout, "time", 32)[3]
    np.testing.assert_array_equal(source.read(block).adu_TYX, data[95:129])
    of_its_chunks = _bytes_of_chunks(path, range(95, 129))
    assert of_its_chunks <= server.num_bytes <= 1.3 * of_its_chunks


def _bytes_of_chunks(path: Path, planes: range) -> int:
    """Return the size of the inner chunks of the given planes, in a store with a single shard."""
    shard = (path / "c/0/0/0").read_bytes()
    at_start = "start" in (path / "zarr.json").read_text().split("index_location")[1][:12]
    index = shard[: 16 * 256] if at_start else shard[-(16 * 256 + 4) : -4]
    return int(np.frombuffer(index, np.uint64).reshape(-1, 2)[list(planes), 1].sum())


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_volumes_in_a_folder_of_a_bucket_form_a_dataset(scheme, tmp_path, s3, web):
    folder = tmp_path / "volumes"
    for v in range(11):
        write(folder / f"v{v}.zarr", camera((Z, Y, X), seed=v), chunks=(1, Y, X))
    (folder / "notes.txt").write_text("none")
    address, config = remotely(scheme, folder, s3, web)
    for name in (address, f"{address}/", f"{address}/v*.zarr"):
        source = open_source(name, config)
        assert source.layout == Layout(11, Z, Y, X)
        np.testing.assert_array_equal(source.read_frames(np.array([[10, 2]]))[0], camera((Z, Y, X), seed=10)[2])
    assert open_source(f"{address}/v[1].zarr", config).layout.num_volumes == 1


CONSOLIDATED = {"v3": 3, "v2": 2}


@pytest.mark.parametrize("version", CONSOLIDATED.values(), ids=CONSOLIDATED)
def test_consolidated_metadata_replace_a_listing(version, tmp_path, web):
    path = tmp_path / "cell.zarr"
    group = zarr.create_group(path, zarr_format=version)
    data = camera((T, Y, X))
    group.create_array("raw/frames", data=data, chunks=(1, Y, X))
    with pytest.raises(Exception, match=r"cannot be listed over HTTP .* --array"):
        open_source(f"{web.address}/cell.zarr")
    assert open_source(f"{web.address}/cell.zarr", InputConfig(array="raw/frames")).layout.num_volumes == T
    with pytest.warns(UserWarning, match="onsolidated") if version == 3 else nullcontext():
        zarr.consolidate_metadata(path)
    source = open_source(f"{web.address}/cell.zarr")
    np.testing.assert_array_equal(source.read_frames(np.array([[2, 0]]))[0], data[2])


@pytest.mark.parametrize("told", [True, False])
def test_images_of_bioformats2raw_are_found_without_a_listing(told, tmp_path, web):
    path = tmp_path / "plate.zarr"
    zarr.create_group(path, attributes={"ome": {"version": "0.5", "bioformats2raw.layout": 3}})
    if told:
        zarr.create_group(path / "OME", attributes={"ome": {"version": "0.5", "series": ["0", "1"]}})
    for name in ("0", "1"):
        sharded(path / name)
    with pytest.raises(Exception, match=r"holds 2 images \(0, 1\)"):
        open_source(f"{web.address}/plate.zarr")


def test_local_stores_need_no_optional_package(tmp_path):
    path = sharded(tmp_path / "cell.zarr")
    program = (
        "import sys\n"
        "sys.modules['obstore'] = None\n"
        "import importlib.util\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'obstore' else found(name, *more)\n"
        "from lls_decode.frames import open_source\n"
        f"print(open_source({str(path)!r}).layout.num_volumes)\n"
        "open_source('s3://bucket/cell.zarr')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ, check=False)
    assert done.stdout.strip() == str(T)
    assert "StorageError: s3://bucket" in done.stderr
    assert "pip install 'lls-decode[remote]'" in done.stderr


def test_checksums_of_remote_stores_are_verified(tmp_path, s3, web):
    movie = create_store(tmp_path / "movie.zarr", Layout(T, Z, Y, X))
    movie[:] = camera((T, Z, Y, X))
    convert(tmp_path / "movie.zarr", tmp_path / "cell.zarr")
    address, config = remotely("s3", tmp_path / "cell.zarr", s3, web)
    assert verify_store(address, storage=config.storage) == ()
    name = next((tmp_path / "cell.zarr/0/c").rglob("0"), None)
    while name is not None and name.is_dir():
        name = name / "0"
    assert name is not None
    damaged = bytearray(name.read_bytes())
    damaged[len(damaged) // 3] ^= 255
    name.write_bytes(damaged)
    address, config = remotely("s3", tmp_path / "cell.zarr", s3, web)
    assert verify_store(address, storage=config.storage) != ()
    s3.accidents = [Accident("/c/", 403)]
    with pytest.raises(AccessError):
        verify_store(address, storage=config.storage)
