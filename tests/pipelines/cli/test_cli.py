"""Commands as a user types them: results, messages of one line for mistakes, and exit statuses."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import yaml

from lls_decode.cluster.site import shipped_profiles
from lls_decode.cluster.slurm.diagnosis import examine
from lls_decode.config import InputConfig, MovieConfig, RunConfig, TrainingConfig, load, load_run_config
from lls_decode.models import find_config
from lls_decode.pipelines.cli import cli
from lls_decode.table import read_metadata, read_table
from tests.export.conftest import write_pieces
from tests.pipelines.conftest import HEIGHT, WIDTH, Invoke, World, write_movie


def commands(group: click.Group, *path: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        found += commands(command, *path, name) if isinstance(command, click.Group) else [(*path, name)]
    return found


@pytest.mark.parametrize("words", commands(cli), ids=" ".join)
def test_every_help_has_an_example(words: tuple[str, ...], invoke: Invoke) -> None:
    status, out, _ = invoke(*words, "--help")
    assert status == 0
    assert f"Example: lls-decode {' '.join(words)}" in " ".join(out.split())


def test_the_help_lists_every_command_once(invoke: Invoke) -> None:
    status, text, _ = invoke("-h")
    assert status == 0
    listed = [line.split()[0] for line in text.partition("\nBegin:")[2].splitlines() if line.startswith("  ")]
    assert sorted(listed) == sorted(cli.commands)


def test_help_needs_no_torch() -> None:
    program = "import sys; import lls_decode.pipelines.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass\n"
    program += "assert 'torch' not in sys.modules and 'distributed' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


WRONG_CAMERA = "{{kind: scmos, offset_adu: 400, gain_adu_per_e: 1, variance_adu2: 2}}"
BAD = {
    "no such dataset": (["absent.zarr"], 3, "absent.zarr"),
    "no such model": (["{movie}", "--model", "absent.lls"], 2, "absent.lls"),
    "unknown key": (["{movie}", "--set", "detection.acept=0.8"], 2, "did you mean 'accept'"),
    "GPU of AMD": (["{movie}", "--device", "rocm"], 2, "'rocm': GPUs of AMD (ROCm) are called 'cuda', as in torch."),
    "GPU of a Mac": (["{movie}", "--device", "mps"], 2, "'mps': the GPU of a Mac (MPS) is not supported"),
    "not a change": (["{movie}", "--set", "detection"], 2, "KEY=VALUE"),
    "impossible value": (["{movie}", "--set", "execution.block_frames=0"], 2, "block_frames"),
    "unknown option": (["{movie}", "--bolck-frames", "3"], 2, "--block-frames"),
    "unknown site": (["{movie}", "--site", "moon"], 2, "moon"),
    "no such profile": (["{movie}", "--site", "absent.yaml"], 2, "absent.yaml cannot be read"),
    "detaching from an interactive site": (["{movie}", "--detach"], 2, "--detach needs an unattended site"),
    "a stop condition without following": (["{movie}", "--idle-timeout", "5"], 2, "need --follow; add it"),
    "following a part": (["{movie}", "--follow", "--volumes", "0:3"], 2, "--follow localizes whole datasets"),
    "following by jobs": (["{movie}", "--follow", "--site", "slurm"], 2, "--follow needs an interactive site"),
    "memory of a job": (["{movie}", "--site", "slurm", "--memory-limit", "3 GiB"], 2, "set worker.memory_gib"),
    "job too small": (["{movie}", "--site", "slurm", "--set", "compute.batch_px=99999999"], 2, "A worker has 15.5 GB"),
    "no such GPU": (["{movie}", "--set", "compute.device=gpu"], 2, "compute.device"),
    "axes": (["{movie}", "--axes", "tyxz"], 3, "tyxz"),
    "wrong map": (["{movie}", "--config", "{config}"], 2, "(3, 4)"),
    "no configuration": (["{movie}", "--config", "absent.yaml"], 2, "absent.yaml"),
    "impossible light": (["{movie}", "--set", f"camera={WRONG_CAMERA}"], 2, "camera.offset_adu is too high"),
    "pixels in um": (["{movie}", "--set", "pixel_size={{x_nm: 0.1, y_nm: 0.1}}"], 2, "0.1 um is 100 nm: give 100"),
}


@pytest.mark.parametrize(("words", "expected", "says"), BAD.values(), ids=BAD.keys())
def test_bad_usage_gives_a_message_of_one_line(
    words: list[str], expected: int, says: str, world: World, tmp_path: Path, invoke: Invoke
) -> None:
    np.save(tmp_path / "map.npy", np.ones((3, 4)))
    camera = {"kind": "scmos", "offset_adu": "map.npy", "gain_adu_per_e": 1.0, "variance_adu2": 1.0}
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump({"camera": camera}))
    words = [word.format(movie=world.movie, config=config) for word in words]
    if "--model" not in words:
        words += ["--model", str(world.bundle())]
    status, out, err = invoke("run", *words, "--out", tmp_path / "out")
    message = err.strip().splitlines()[-1]
    assert status == expected, err
    assert message.startswith("Error: ")
    assert says in message
    assert "Traceback" not in out + err
    assert not (tmp_path / "out" / "localizations.parquet").exists()


def test_impossible_light_is_accepted_with_force(world: World, tmp_path: Path, invoke: Invoke) -> None:
    """A dry run and a preview refuse impossible light; with ``--force`` they accept it and print the finding."""
    words = [world.movie, "--model", world.bundle(), "--set", f"camera={WRONG_CAMERA.format()}"]
    for command in (
        ["run", *words, "--out", tmp_path / "out", "--dry-run"],
        ["preview", *words, "--out", tmp_path / "p.png"],
    ):
        status, _, err = invoke(*command)
        assert (status, "'lls-decode run --force'" in err) == (2, True)
        status, out, err = invoke(*command, "--force")
        assert (status, "camera.offset_adu is too high" in out) == (0, True), err


def test_dry_run_prints_the_plan_and_writes_nothing(world: World, tmp_path: Path, invoke: Invoke) -> None:
    sweeps = write_movie(tmp_path / "sweeps.zarr", (2, 5, HEIGHT, WIDTH))
    geometry = {"motion": "stage", "stage_step_nm": 400.0, "angle_deg": 31.8}
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump({"geometry": geometry, "pixel_size": {"x_nm": 100.0, "y_nm": 100.0}}))
    status, out, _ = invoke(
        "run", sweeps, "--model", world.bundle("plane"), "--out", tmp_path / "out", "--config", config, "--dry-run"
    )
    assert status == 0
    assert "plane-to-plane shift = 3.40 px along x" in out
    assert "2 volumes x 5 planes of 40 x 48 pixels" in out
    assert "frames/s in a probe of 10 frames" in out
    assert not (tmp_path / "out").exists()


def test_commands_from_simulation_to_picture(world: World, tmp_path: Path, invoke: Invoke) -> None:
    """The commands work in the order of a tutorial, on a small movie."""
    movie = {
        "name": "small",
        "simulation": {
            "pixel_size": {"x_nm": 100.0, "y_nm": 100.0},
            "psf": {"kind": "gaussian", "sigma_nm": 130.0},
            "camera": {
                "kind": "scmos-chip",
                "offset_adu": 100.0,
                "offset_sd_adu": 2.0,
                "gain_adu_per_e": 2.0,
                "gain_sd_adu_per_e": 0.1,
                "variance_adu2": 5.0,
                "variance_spread": 0.2,
                "hot_fraction": 0.01,
            },
            "emitters": {
                "density_per_um2": 0.3,
                "photons_mean": 1000.0,
                "photons_sd": 100.0,
                "on_time_frames": 2.0,
                "z_range_nm": [0.0, 0.0],
            },
            "background": {"low": 10.0, "high": 20.0},
        },
        "num_volumes": 40,
        "height": HEIGHT,
        "width": WIDTH,
    }
    config = tmp_path / "movie.yaml"
    config.write_text(yaml.safe_dump(movie))
    folder, out = tmp_path / "movie", tmp_path / "out"
    assert invoke("config", "check", config, "--kind", "movie")[0] == 0
    assert invoke("simulate", "--config", config, "--out", folder)[0] == 0
    status, _, err = invoke("simulate", "--config", config, "--out", folder)
    assert (status, "--overwrite" in err) == (2, True)
    status, text, _ = invoke("inspect", folder / "movie.zarr", "--json")
    assert (status, json.loads(text)["frames"]) == (0, 40)
    assert load_run_config(folder / "run.yaml").camera.offset_adu == str(folder / "camera" / "offset_adu.npy")

    command = ["run", folder / "movie.zarr", "--model", world.bundle(), "--out", out, "--config", folder / "run.yaml"]
    command += ["--block-frames", "16", "--workers", "1", "--json"]
    status, text, err = invoke(*command)
    assert status == 0, err
    assert "dashboard" in err
    rows = json.loads(text)["rows"]
    assert rows == read_table(out / "localizations.parquet")[0].num_rows > 0
    assert (out / "report.html").exists()
    assert f"report     {out / 'report.html'}" in err
    again = invoke(*command)
    assert (again[0], json.loads(again[1])["rows"]) == (0, rows)
    status, _, err = invoke(*command, "--set", "detection.accept=0.8")
    assert status == 2
    assert "detection.accept: 0.7 -> 0.8" in err

    status, text, _ = invoke("status", out, "--json")
    assert (status, json.loads(text)["blocks_done"]) == (0, 3)
    elsewhere = tmp_path / "elsewhere.parquet"
    assert invoke("merge", out, "--to", elsewhere)[0] == 0
    assert read_table(elsewhere)[0].equals(read_table(out / "localizations.parquet")[0])
    assert read_metadata(elsewhere).run_digest == json.loads((out / "run.json").read_text())["run_digest"]
    (out / "shards" / "b000001.parquet").unlink()
    status, _, err = invoke("merge", out)
    assert status == 3
    assert "b000001" in err
    status, text, _ = invoke("evaluate", elsewhere, folder / "truth.parquet", "--json")
    assert (status, json.loads(text)["num_found"]) == (0, rows)
    status, text, _ = invoke("inspect", elsewhere, "--json")
    assert (status, json.loads(text)["rows"]) == (0, rows)
    picture = tmp_path / "picture.png"
    assert invoke("render", elsewhere, picture)[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_render_chooses_the_format_by_the_file_extension(invoke: Invoke, tmp_path: Path) -> None:
    columns = {"x_nm": [100, 900, 500], "y_nm": [100, 500, 300], "z_nm": [-400, 400, 0], "frame": [0, 7, 9]}
    table = write_pieces(tmp_path / "t.parquet", **columns)
    status, text, _ = invoke("render", table, tmp_path / "a.tif", "--colour", "time", "--frames", "5:", "--view", "xz")
    assert (status, "2 localizations drawn" in text) == (0, True)
    how = ["--mode", "histogram", "--pixel-nm", 50, "--z-pixel-nm", 50]
    where = ["--x-nm", "0:1000", "--y-nm", "0:600", "--slab-nm", "-500:500"]
    status, text, _ = invoke("render", table, tmp_path / "a.zarr", *how, *where)
    assert (status, "3 localizations drawn, 20 x 12 x 20 pixels" in text) == (0, True)
    assert invoke("render", table, tmp_path / "a.ome.tif", "--tilt-deg", 90, "--blur-nm", 30)[0] == 0
    status, _, err = invoke("render", table, tmp_path / "b.zarr", "--colour", "time")
    assert (status, "--colour cannot be used for b.zarr" in err) == (2, True)
    status, _, err = invoke("render", table, tmp_path / "b.png", "--frames", "5")
    assert (status, "--frames 5: expected START:STOP" in err) == (2, True)


def test_config_show_round_trips(invoke: Invoke, tmp_path: Path) -> None:
    status, text, _ = invoke("config", "show")
    assert status == 0
    path = tmp_path / "run.yaml"
    path.write_text(text)
    assert load(RunConfig, path) == RunConfig(input=InputConfig())


def allows(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    """Return whether a JSON schema allows a value; only keys and types are checked."""
    if "$ref" in schema:
        return allows(root["$defs"][schema["$ref"].rpartition("/")[2]], value, root)
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return any(allows(choice, value, root) for choice in choices)
    if "const" in schema or "enum" in schema:
        return value in schema.get("enum", [schema.get("const")])
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "number": (int, float), "integer": int}
    expected = schema.get("type")
    if expected == "null":
        return value is None
    if expected is not None and (not isinstance(value, types[expected]) or (expected != "boolean" and value is True)):
        return False
    if isinstance(value, dict) and schema.get("additionalProperties") is False:
        keys = schema.get("properties", {})
        known = all(name in keys and allows(keys[name], item, root) for name, item in value.items())
        return known and set(schema.get("required", ())) <= value.keys()
    if isinstance(value, list):
        items = schema.get("prefixItems") or [schema.get("items", {})] * len(value)
        return len(items) == len(value) and all(map(lambda part, item: allows(part, item, root), items, value))
    return True


SCHEMAS: dict[str, dict[str, Any]] = {
    "run": RunConfig().to_dict(),
    "training": load(TrainingConfig, find_config("lls-paint")).to_dict(),
    "movie": load(MovieConfig, find_config("demo-movie")).to_dict(),
    "site": yaml.safe_load(shipped_profiles()["slurm-gpu"].read_text()),
    "batch": {"defaults": {"model": "a.lls"}, "datasets": ["a.zarr", {"dataset": "b.zarr", "out": "mine"}]},
}


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_schema_for_editors_accepts_valid_files_and_refuses_unknown_keys(kind: str, invoke: Invoke) -> None:
    status, text, _ = invoke("config", "schema", kind)
    schema = json.loads(text)
    assert (status, schema["$schema"].partition("/draft")[0]) == (0, "https://json-schema.org")
    assert allows(schema, SCHEMAS[kind], schema)
    assert not allows(schema, {**SCHEMAS[kind], "unknwon": 1}, schema)
    assert "``" not in text
    assert "None:" not in text


def test_a_schema_describes_keys_as_the_commented_yaml_does(invoke: Invoke, tmp_path: Path) -> None:
    keys = json.loads(invoke("config", "schema", "training")[1])["properties"]
    assert invoke("config", "init", "2d", "--out", tmp_path / "mine.yaml")[0] == 0
    comments = " ".join((tmp_path / "mine.yaml").read_text().replace("# ", " ").split())
    assert sum("description" in key for key in keys.values()) > 12
    assert all(key["description"] in comments for key in keys.values() if "description" in key and "$ref" not in key)


@pytest.mark.parametrize("name", ["astigmatism", "lls-paint", "storm-2d"])
def test_shipped_training_configurations_are_valid(name: str) -> None:
    assert load(TrainingConfig, find_config(name)).name == name


def test_shipped_movie_configuration_is_valid() -> None:
    assert load(MovieConfig, find_config("demo-movie")).layout.num_frames >= 600


def test_an_interrupted_training_can_be_resumed(tmp_path: Path, invoke: Invoke) -> None:
    small = ["network.filters=4", "steps=4", "crop_px=16", "sequences=1", "sequence_frames=2", "validation_frames=2"]
    words = ["train", "--config", "storm-2d", "--out", tmp_path, *(w for s in small for w in ("--set", s))]
    status, text, _ = invoke(*words, "--stop-after", "2")
    assert (status, "rerun the same command to resume" in text) == (0, True)
    status, text, _ = invoke(*words)
    assert (status, "storm-2d.lls" in text) == (0, True)
    status, text, _ = invoke("model", "info", tmp_path / "storm-2d.lls", "--json")
    assert (status, json.loads(text)["training"]["steps"]) == (0, 4)
    status, _, err = invoke(*words, "--set", "seed=2")
    assert (status, "another configuration" in err) == (2, True)


def test_a_shipped_model_can_be_fine_tuned(tmp_path: Path, invoke: Invoke) -> None:
    small = ["steps=2", "crop_px=16", "sequences=1", "sequence_frames=2", "validation_frames=2"]
    words = ["train", "--config", "storm-2d", "--out", tmp_path / "out", *(w for s in small for w in ("--set", s))]
    status, _, err = invoke(*words, "--set", "network.filters=64", "--init-from", "lls-paint")
    assert (status, ", but the training has 64" in err) == (2, True)
    fewer = ["--set", "simulation.emitters.density_per_um2=30", "--stop-after", "1"]
    assert invoke(*words, *fewer, "--init-from", "storm-2d")[0] == 0
    status, _, err = invoke(*words, *fewer)
    assert (status, "started with the model storm-2d" in err) == (2, True)


def test_a_configuration_for_a_users_microscope_can_be_created(tmp_path: Path, invoke: Invoke) -> None:
    path = tmp_path / "mine.yaml"
    words = ["config", "init", "lls-paint", "--out", path]
    status, text, err = invoke(*words, "--pixel-nm", "130", "--set", "seed=5")
    assert (status, f"--config {path}" in text) == (0, True), err
    made = load(TrainingConfig, path)
    assert (made.name, made.seed, made.simulation.pixel_size.y_nm) == ("mine", 5, 130.0)
    assert invoke("config", "check", path, "--kind", "training")[0] == 0
    status, _, err = invoke(*words)
    assert (status, "exists" in err) == (2, True)
    status, text, _ = invoke("config", "list")
    assert all(f"\n{preset} " in text for preset in ("lls-paint", "astigmatism", "2d"))


def test_estimate_writes_a_configuration_that_can_be_trained(tmp_path: Path, invoke: Invoke) -> None:
    simulation = load(TrainingConfig, find_config("storm-2d")).simulation
    movie = {"name": "m", "simulation": simulation.to_dict(), "num_volumes": 30, "height": 64, "width": 64}
    config, out = tmp_path / "movie.yaml", tmp_path / "prefit"
    config.write_text(yaml.safe_dump(movie))
    assert invoke("simulate", "--config", config, "--out", tmp_path / "movie")[0] == 0
    words = ["estimate", tmp_path / "movie" / "movie.zarr", "--base", "storm-2d", "--out", out]
    status, text, err = invoke(*words, "--config", tmp_path / "movie" / "run.yaml", "--json")
    assert status == 0, err
    numbers = json.loads(text)
    assert numbers == json.loads((out / "estimate.json").read_text())
    assert numbers["quality"]["num_kept"] > 30
    assert (out / "estimate.png").exists()
    assert invoke("config", "check", out / "training.yaml", "--kind", "training")[0] == 0
    advice = "--init-from storm-2d --minutes 20 --out work/movie-storm-2d"
    assert f"# Train with: lls-decode train --config training.yaml {advice}\n" in (out / "training.yaml").read_text()
    small = ["network.filters=4", "crop_px=16", "sequences=1", "sequence_frames=2"]
    train = ["train", "--config", out / "training.yaml", "--out", tmp_path / "training", "--stop-after", "2"]
    status, text, err = invoke(*train, *(word for change in small for word in ("--set", change)))
    assert (status, "rerun the same command to resume" in text) == (0, True), err
    status, _, err = invoke(
        *words, "--set", "camera={kind: scmos, offset_adu: 900, gain_adu_per_e: 2, variance_adu2: 5}"
    )
    assert (status, "correct camera.offset_adu" in err) == (2, True)


def test_doctor_reports_its_checks_as_json(invoke: Invoke) -> None:
    _, text, _ = invoke("doctor", "--json", "--site", "slurn")
    checks = {check["name"]: check for check in json.loads(text)}
    assert (checks["site"]["state"], "did you mean 'slurm'" in checks["site"]["words"]) == ("wrong", True)
    assert checks["worker"]["state"] != "wrong"  # a busy machine may give a note
    assert checks["torch"]["state"] == "ok"


def test_site_slurm_is_refused_on_a_machine_without_slurm(
    world: World, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ["run", world.movie, "--model", world.bundle(), "--out", tmp_path / "out", "--site", "slurm"]
    status, _, err = invoke(*words)
    assert (status, "not found; run this on a machine with SLURM's commands" in err.splitlines()[-1]) == (2, True)
    assert not (tmp_path / "out").exists()
    assert examine() == [("note", "no SLURM here; use one of the sites local, cuda and tcp://HOST:PORT")]
    program = tmp_path / "sbatch"
    program.write_text("#!/bin/sh")
    program.chmod(0o755)
    ((state, words_of_doctor),) = examine()
    assert (state, "squeue, sinfo, scancel, scontrol not found" in words_of_doctor) == ("wrong", True)


def test_profiles_and_job_scripts_are_shown(tmp_path: Path, invoke: Invoke) -> None:
    status, text, _ = invoke("cluster", "list")
    assert (status, [line.split()[0] for line in text.splitlines()][:4]) == (0, ["cuda", "local", "slurm-gpu", "slurm"])
    status, text, _ = invoke("cluster", "show", "slurm-gpu", "--profile")
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("gres: gpu:1", "gres: gpu:a100:2"))
    status, text, _ = invoke("cluster", "show", path, "--out", tmp_path)
    assert status == 0
    assert text.count("#!/bin/bash") == 2
    assert text.count("#SBATCH --gres=gpu:a100:2") == 1
    assert f"# sbatch --array=0-3 --dependency=after:DRIVER {tmp_path}/site/worker.sh" in text
    path.write_text(path.read_text().replace("partition:", "partitoin:"))
    status, _, err = invoke("cluster", "show", path)
    assert (status, "did you mean 'partition'?" in err) == (2, True)
