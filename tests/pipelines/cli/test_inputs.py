"""Commands that read a dataset accept the same options, and the advice in error messages works for each command."""

import json
import re
from pathlib import Path

import click
import numpy as np
import pytest
import zarr

from lls_decode.pipelines.cli import cli
from tests.pipelines.conftest import HEIGHT, WIDTH, Invoke, World

SELECTING = ("array", "axes", "channel", "select", "planes_per_volume", "allow_gaps", "config_path", "changes")


def test_commands_that_read_a_dataset_have_the_same_options() -> None:
    def options(name: str) -> dict[str, list[str]]:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        return {item.name: item.opts for item in command.params if item.name in SELECTING}

    assert sorted(options("run")) == sorted(SELECTING)
    assert options("inspect") == options("preview") == options("run")


def two_positions(path: Path) -> Path:
    frames = np.random.default_rng(0).poisson(20, (2, 12, HEIGHT, WIDTH)) + 100
    names = ["p", "t", "y", "x"]
    array = zarr.create_array(
        str(path), shape=frames.shape, chunks=(1, 4, HEIGHT, WIDTH), dtype="uint16", dimension_names=names
    )
    array[:] = frames
    return path


def test_the_advised_option_works_for_all_commands(world: World, invoke: Invoke, tmp_path: Path) -> None:
    path = two_positions(tmp_path / "a.zarr")
    model = ["--model", world.bundle()]
    commands = {
        "inspect": [],
        "preview": [*model, "--out", tmp_path / "preview.png"],
        "run": [*model, "--out", tmp_path / "out", "--dry-run"],
    }
    for command, more in commands.items():
        status, _, err = invoke(command, path, *more)
        assert status == 3
        (advice,) = re.findall(r"--select \S+(?= to)", err)
        status, text, err = invoke(command, path, *more, *advice.split())
        assert status == 0, err
        assert "axis 'p': entry 0 of 2 is read" in text + err


def test_a_selection_works_as_option_and_in_the_configuration(invoke: Invoke, tmp_path: Path) -> None:
    path = two_positions(tmp_path / "a.zarr")
    (tmp_path / "run.yaml").write_text("input: {select: {p: 1}}")
    ways = (["--select", "p=1"], ["--set", "input.select.p=1"], ["--config", tmp_path / "run.yaml"])
    found = [json.loads(invoke("inspect", path, "--json", *way)[1]) for way in ways]
    assert found[0] == found[1] == found[2]
    other = json.loads(invoke("inspect", path, "--json", "--select", "p=0")[1])
    assert (other["frames"], other["identity"] != found[0]["identity"]) == (12, True)


@pytest.mark.parametrize("text", ["p", "p=", "=1", "p=x", "p=-1"])
def test_an_invalid_selection_is_refused(text: str, invoke: Invoke, tmp_path: Path) -> None:
    status, _, err = invoke("inspect", two_positions(tmp_path / "a.zarr"), "--select", text)
    assert (status, "expected AXIS=N with N counted from 0" in err) == (2, True)


def test_dataset_options_are_refused_for_a_table(invoke: Invoke, tmp_path: Path) -> None:
    status, _, err = invoke("inspect", tmp_path / "a.parquet", "--axes", "tyx")
    assert (status, "is a table" in err) == (2, True)


def test_a_folder_with_a_gap_is_refused_and_read_with_the_advised_option(
    world: World, invoke: Invoke, tmp_path: Path
) -> None:
    for number in (0, 1, 3):
        frames = np.random.default_rng(number).poisson(20, (4, HEIGHT, WIDTH)) + 100
        path = str(tmp_path / "all" / f"v{number}.zarr")
        zarr.create_array(
            path, data=frames.astype("uint16"), chunks=(1, HEIGHT, WIDTH), dimension_names=["t", "y", "x"]
        )
    model = ["--model", world.bundle()]
    commands = {
        "inspect": ["--camera-frames", "0"],
        "preview": [*model, "--out", tmp_path / "preview.png"],
        "run": [*model, "--out", tmp_path / "out", "--dry-run"],
    }
    for command, more in commands.items():
        status, _, err = invoke(command, tmp_path / "all", *more)
        assert status == 3
        assert "lacks the stores between v1.zarr and v3.zarr" in err
        status, text, err = invoke(command, tmp_path / "all", *more, *re.findall(r"--allow-gaps", err))
        assert status == 0, err
        assert "stores are missing between v1.zarr and v3.zarr" in text + err
    status, text, err = invoke("batch", f"{tmp_path}/all/*.zarr", *model, "--out", tmp_path / "b", "--dry-run")
    assert status == 0, err
    assert all(f"v{number}" in text + err for number in (0, 1, 3)), "the stores of a batch are independent movies"
