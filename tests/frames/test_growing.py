"""Number of complete volumes of a growing dataset, decided from its files and a clock set by the test."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from lls_decode.config import InputConfig
from lls_decode.errors import InputError
from lls_decode.frames.growing import Growth
from lls_decode.frames.opening import open_source

SIDE = 16
SETTLE_S, LATE_S = 10.0, 100.0


class World:
    """Dataset that grows, with a simulated clock for its files and its reader."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1000.0
        self.growth = Growth(path, settle_s=SETTLE_S, late_s=LATE_S, clock=lambda: self.now)

    def create(self, length: int, *, chunk: int = 2, planes: int = 0, **how: object) -> None:
        shape = (length, *([planes] if planes else []), SIDE, SIDE)
        chunks = (chunk, *([1] if planes else []), SIDE, SIDE)
        zarr.create_array(str(self.path), shape=shape, chunks=chunks, dtype="u2", **how)

    def write(self, start: int, stop: int) -> None:
        """Write frames of the array at the current simulated time."""
        before = self.files()
        array = zarr.open_array(str(self.path), mode="r+")
        if array.shape[0] < stop:
            array.resize((stop, *array.shape[1:]))
        array[start:stop] = np.full((stop - start, *array.shape[1:]), 100 + start, "u2")
        self.touch(before)

    def touch(self, before: dict[Path, float]) -> None:
        for path, modified in self.files().items():
            if before.get(path) != modified:
                os.utime(path, (self.now, self.now))

    def files(self) -> dict[Path, float]:
        return {path: path.stat().st_mtime for path in self.path.rglob("*") if path.is_file()}

    def look(self, after_s: float = 0.0) -> int:
        """Return the number of complete volumes after ``after_s`` seconds."""
        self.now += after_s
        source = self.growth.look()
        return 0 if source is None else source.layout.num_volumes


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "data.zarr")


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("length", [0, 20], ids=["resized", "declared in full"])
def test_chunks_are_complete_once_later_ones_exist_and_they_are_old_enough(
    world: World, zarr_format: int, length: int
) -> None:
    assert world.look() == 0
    world.create(length, zarr_format=zarr_format)
    assert world.look() == 0
    world.write(0, 2)
    assert world.look(50) == 0, "the last chunk may still be written"
    world.write(2, 3)
    assert world.look() == 2
    world.write(3, 6)
    assert world.look(1) == 2, "the second chunk was modified just now"
    assert not world.growth.is_quiet()
    assert world.look(SETTLE_S) == 4
    assert world.growth.is_quiet()


def test_a_modified_chunk_must_settle_again(world: World) -> None:
    world.create(0)
    world.write(0, 4)
    world.look()
    world.look(SETTLE_S - 1)
    world.write(1, 2)
    world.look()
    assert world.look(SETTLE_S - 1) == 0
    assert world.look(1) == 2


def test_a_volume_is_complete_with_all_its_planes(world: World) -> None:
    world.create(8, chunk=1, planes=3)
    world.write(0, 3)
    late = world.path / "c/1/2/0/0"
    content = late.read_bytes()
    late.unlink()
    assert world.look() == 0
    assert world.look(SETTLE_S) == 1
    late.write_bytes(content)
    os.utime(late, (world.now, world.now))
    assert world.look() == 1
    assert world.look(SETTLE_S) == 2


def test_a_missing_chunk_delays_later_ones_for_a_limited_time(world: World) -> None:
    world.create(0)
    world.write(0, 2)
    world.write(4, 10)
    assert world.look() == 0
    assert world.look(LATE_S - 1) == 2
    assert world.look(1) == 8


def test_an_empty_shard_is_not_complete(world: World) -> None:
    world.create(16, shards=(4, SIDE, SIDE))
    world.write(0, 4)
    second = world.path / "c/1/0/0"
    second.parent.mkdir(parents=True)
    second.touch()
    os.utime(second, (world.now + SETTLE_S, world.now + SETTLE_S))
    assert world.look(SETTLE_S) == 0, "the second shard is empty, so that it is not written yet"
    world.write(4, 8)
    assert world.look(SETTLE_S) == 4


def add_store(world: World, name: str) -> None:
    array = zarr.create_array(str(world.path / name), shape=(3, SIDE, SIDE), chunks=(1, SIDE, SIDE), dtype="u2")
    array[:] = 7
    for path in (world.path / name).rglob("*"):
        os.utime(path, (world.now, world.now))


def test_volumes_behind_a_missing_one_wait_for_it(world: World) -> None:
    world.path.mkdir()
    for name in ("v0.zarr", "v1.zarr", "v3.zarr", "v4.zarr"):
        add_store(world, name)
    assert world.look() == 0
    assert world.look(SETTLE_S) == 2
    assert world.look(LATE_S) == 2, "v3 is not taken for the third volume"
    add_store(world, "v2.zarr")
    world.look()
    assert world.look(SETTLE_S) == 4
    add_store(world, "w5.zarr")
    world.look()
    assert world.look(SETTLE_S) == 5
    with pytest.raises(InputError, match=r"other forms of name: w5.zarr"):
        open_source(world.path)


def test_volumes_in_a_directory_are_complete_once_later_ones_exist(world: World) -> None:
    def add(name: str) -> None:
        add_store(world, name)

    world.path.mkdir()
    add("v1.zarr")
    assert world.look(SETTLE_S) == 0
    add("v2.zarr")
    add(".hidden.zarr")
    assert world.look(SETTLE_S) == 1
    add("v3.zarr.tmp")
    assert world.look(SETTLE_S) == 2
    (world.path / "v3.zarr.tmp").rename(world.path / "v3.zarr")
    assert world.look(SETTLE_S) == 2
    assert world.growth.num_volumes_begun() == 3
    add("v0.zarr")
    with pytest.raises(InputError, match="were inserted or removed"):
        world.look()


def test_complete_volumes_can_be_read_while_the_dataset_grows(world: World) -> None:
    world.create(0)
    world.write(0, 4)
    world.look()
    world.look(SETTLE_S)
    early = world.growth.source
    world.write(4, 8)
    world.look()
    world.look(SETTLE_S)
    late = world.growth.source
    assert early is not None
    assert late is not None
    assert (early.layout.num_volumes, late.layout.num_volumes) == (2, 6)
    for source in (early, late, early):
        frames = np.array([[volume, 0] for volume in range(source.layout.num_volumes)])
        np.testing.assert_array_equal(
            source.read_frames(frames)[:, 0, 0], [100, 100, 100, 100, 104, 104][: len(frames)]
        )


def test_the_description_of_a_dataset_does_not_depend_on_its_length(world: World) -> None:
    world.create(0)
    world.write(0, 4)
    before = open_source(world.path)
    world.write(4, 9)
    zarr.open_array(str(world.path), mode="r+").attrs["finished"] = True
    after = open_source(world.path)
    assert before.description == after.description
    assert before.identity != after.identity
    assert set(before.samples) & set(after.samples)


def one_volume(path: Path) -> None:
    zarr.create_array(str(path), shape=(4, SIDE, SIDE), dtype="u2", dimension_names=["z", "y", "x"])[:] = 1


def zipped(path: Path) -> None:
    zarr.create_array(str(path), shape=(4, SIDE, SIDE), dtype="u2")[:] = 1
    shutil.make_archive(str(path), "zip", path)


@pytest.mark.parametrize(("make", "name"), [(one_volume, "data.zarr"), (zipped, "data.zarr.zip")])
def test_datasets_that_cannot_grow_are_refused(make: Callable[[Path], None], name: str, tmp_path: Path) -> None:
    make(tmp_path / "data.zarr")
    with pytest.raises(InputError, match="cannot grow"):
        Growth(tmp_path / name, InputConfig()).look()


def test_a_dataset_that_changes_its_frame_size_is_refused(world: World) -> None:
    world.create(4)
    world.write(0, 4)
    world.look()
    shutil.rmtree(world.path)
    zarr.create_array(str(world.path), shape=(4, SIDE, 2 * SIDE), dtype="u2")
    with pytest.raises(InputError, match="only axis t may grow"):
        world.look()
