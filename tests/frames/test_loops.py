"""Stores whose metadata or links lead back to themselves, or out of the store, are refused in bounded time."""

import json
from pathlib import Path

import pytest
import zarr

from lls_decode.errors import InputError
from lls_decode.frames import open_source
from lls_decode.frames.metadata import images

AXES = [{"name": name} for name in "tyx"]


def group(path: Path, attributes: dict[str, object]) -> Path:
    opened = zarr.open_group(path, mode="w", zarr_format=3)
    opened.create_array("0", shape=(4, 40, 48), chunks=(2, 40, 48), dtype="u2")[:] = 100
    document = json.loads((path / "zarr.json").read_text())
    (path / "zarr.json").write_text(json.dumps({**document, "attributes": attributes}))
    return path


@pytest.mark.parametrize("path", ["", "."])
def test_wells_that_refer_to_the_plate_are_refused(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_NODES", 500)
    store = group(tmp_path / "a.zarr", {"ome": {"plate": {"wells": [{"path": path}] * 100}}})
    with pytest.raises(InputError, match="more than 500 arrays and groups, or links that lead back"):
        open_source(store)


def test_links_to_their_own_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_NODES", 500)
    zarr.open_group(tmp_path / "a.zarr", mode="w")
    for number in range(20):
        (tmp_path / "a.zarr" / f"link{number}").symlink_to(".")
    with pytest.raises(InputError, match="choose one image with --array"):
        open_source(tmp_path / "a.zarr")


@pytest.mark.parametrize("path", ["..", "../b.zarr", "0/../../b.zarr", "a\0b", "\x1b[2J", "a" * 5000], ids=repr)
def test_paths_that_lead_out_of_the_store_are_refused(path: str, tmp_path: Path) -> None:
    for attributes in (
        {"ome": {"version": "0.5", "multiscales": [{"axes": AXES, "datasets": [{"path": path}]}]}},
        {"ome": {"plate": {"wells": [{"path": path}]}}},
    ):
        with pytest.raises(InputError, match="cannot be a path inside the store"):
            open_source(group(tmp_path / "a.zarr", attributes))


def test_shards_of_millions_of_chunks_are_refused(tmp_path: Path) -> None:
    """Reading their index would take gigabytes."""
    zarr.create_array(tmp_path / "a.zarr", shape=(8, 40, 48), chunks=(1, 40, 48), shards=(4, 40, 48), dtype="u2")
    document = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())
    document["shape"][0] = document["chunk_grid"]["configuration"]["chunk_shape"][0] = 1 << 30
    (tmp_path / "a.zarr" / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"shards of 1,073,741,824 chunks, expected at most"):
        open_source(tmp_path / "a.zarr")


def test_shards_without_chunks_are_refused(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=(8, 40, 48), chunks=(1, 40, 48), shards=(4, 40, 48), dtype="u2")
    document = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())
    document["chunk_grid"]["configuration"]["chunk_shape"][0] = 0
    (tmp_path / "a.zarr" / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="states chunks or shards with a size below 1"):
        open_source(tmp_path / "a.zarr")


@pytest.mark.parametrize("scale", [1e-300, 1e300, -0.1, 0.0])
def test_pixels_that_no_camera_has_are_unknown(scale: float, tmp_path: Path) -> None:
    axes = [{"name": name, "unit": "micrometer"} for name in "tyx"]
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, scale, scale]}]}
    store = group(tmp_path / "a.zarr", {"ome": {"multiscales": [{"axes": axes, "datasets": [level]}]}})
    assert open_source(store).pixel_size is None
