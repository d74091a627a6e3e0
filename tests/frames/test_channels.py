"""The name of the selected channel comes from labels or from a converted movie, or is its number."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from lls_decode.config import InputConfig
from lls_decode.frames import open_source
from lls_decode.frames.handles import open_zarr_node
from lls_decode.movies.convert import convert


def write_ome_zarr(path: Path, *, num_channels: int, labels: list[object] | None) -> Path:
    axes = [
        {"name": name, "type": kind} for name, kind in zip("tcyx", ("time", "channel", "space", "space"), strict=True)
    ]
    scale = {"type": "scale", "scale": [1.0] * 4}
    ome = {
        "version": "0.5",
        "multiscales": [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}],
    }
    if labels is not None:
        ome["omero"] = {"channels": [{} if label is None else {"label": label} for label in labels]}
    root = zarr.create_group(path, attributes={"ome": ome})
    root.create_array("0", shape=(3, num_channels, 16, 16), chunks=(1, 1, 16, 16), dtype="uint16")[:] = 7
    return path


CASES = {
    "labelled": (2, ["tubulin", "actin"], 1, "actin"),
    "one labelled channel": (1, ["tubulin"], None, "tubulin"),
    "without labels": (2, None, 0, "channel 0"),
    "one channel without label": (2, ["tubulin", None], 1, "channel 1"),
    "too few labels": (3, ["tubulin"], 2, "channel 2"),
    "labels that are not text": (2, [5, 6], 1, "channel 1"),
    "a single channel without a name": (1, None, None, ""),
}


@pytest.mark.parametrize(("num", "labels", "channel", "expected"), CASES.values(), ids=CASES.keys())
def test_channel_names_are_read_from_ome_zarr(
    tmp_path: Path, num: int, labels: list[object] | None, channel: int | None, expected: str
) -> None:
    path = write_ome_zarr(tmp_path / "cell.zarr", num_channels=num, labels=labels)
    assert open_source(path, InputConfig(channel=channel)).channel_name == expected
    assert open_zarr_node(zarr.open_group(path), InputConfig(channel=channel)).channel_name == expected


@pytest.mark.parametrize(("chosen", "expected"), [("1", "channel 1"), (None, "")])
def test_a_converted_movie_records_its_channel(tmp_path: Path, chosen: str | None, expected: str) -> None:
    frames = np.random.default_rng(0).integers(0, 99, (4, 2, 16, 16)).astype(np.uint16)
    movie = tmp_path / "movie.tif"
    if chosen is None:
        tifffile.imwrite(movie, frames[:, 0], imagej=True, metadata={"axes": "TYX"})
    else:
        tifffile.imwrite(movie, frames, imagej=True, metadata={"axes": "TCYX"})
    assert convert(movie, tmp_path / "cell.zarr", channel=chosen).channel_name == expected
