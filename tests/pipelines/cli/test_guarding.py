"""No command changes an existing file that is not its declared output; tested for each option and kind of file."""

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pytest
import yaml
from click.testing import CliRunner, Result

from lls_decode.axes import Layout
from lls_decode.config import PixelSize
from lls_decode.drift import DriftCurve, write_curve
from lls_decode.errors import LlsDecodeError
from lls_decode.export.exporting import export_table
from lls_decode.frames import create_store
from lls_decode.models import find_bundle
from lls_decode.molecules import link
from lls_decode.pictures.render import render_png
from lls_decode.pipelines.cli import cli
from lls_decode.pipelines.cli.guarding import OutputPath
from lls_decode.register import Transformation, write_transformation
from lls_decode.table import TableMetadata, schema, table_writer
from lls_decode.table.marks import kind_of

NOT_WRITTEN = {"doctor": {"out"}, "cluster show": {"out"}, "status": {"out"}, "watch": {"out"}}
"""Options named like outputs whose folders the command only reads or prints."""


def invoke(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def status(result: Result) -> int:
    error = result.exception
    return error.exit_status if isinstance(error, LlsDecodeError) else result.exit_code


def all_commands(group: click.Group = cli, name: str = "") -> Iterator[tuple[str, click.Command]]:
    for key, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from all_commands(command, f"{name}{key} ")
        else:
            yield f"{name}{key}", command


@pytest.mark.parametrize(
    ("name", "command"), list(all_commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_outputs_are_declared(name: str, command: click.Command) -> None:
    for param in command.params:
        if param.name in {"out", "to", "report", "curve", "picture", "transformation"} - NOT_WRITTEN.get(name, set()):
            is_flag = isinstance(param, click.Option) and param.is_flag
            assert is_flag or isinstance(param.type, OutputPath), f"{name}: {param.name}"
    writes = any(isinstance(param.type, OutputPath) for param in command.params)
    assert writes == any(param.name == "force" for param in command.params), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a file of each kind, written by lls_decode and by others."""
    folder = tmp_path_factory.mktemp("files")
    write_localizations(folder / "table.parquet")
    write_localizations(folder / "other.parquet", seed=2)
    link(folder / "other.parquet", out=None)
    write_localizations(folder / "unlinked.parquet", seed=3)
    write_transformation(folder / "map.yaml", TURNED)
    (folder / "molecules.parquet").rename(folder / "mols.parquet")
    shift = np.linspace(0, 40, 3 * 40).reshape(40, 3)
    write_curve(folder / "curve.parquet", DriftCurve(0, shift, np.ones_like(shift), "raw", "rcc"))
    for name in ("ours.csv", "ours.hdf5", "ours.h5", "ours_sml.mat", "ours.smlm"):
        export_table(folder / "table.parquet", folder / name)
    render_png(folder / "table.parquet", folder / "ours.png", pixel_nm=200)
    bundle = find_bundle("storm-2d")
    (folder / "model.lls").write_bytes(bundle.read_bytes())
    (folder / "run.yaml").write_text(yaml.safe_dump({"pixel_size": {"x_nm": 100.0, "y_nm": 100.0}}))
    for name in ("mine.png", "mine.csv", "mine.hdf5", "mine.h5", "mine.yaml", "mine.npz", "mine.lls", "mine.html",
                 "mine.parquet", "mine.tif", "mine_sml.mat", "mine.smlm", "mine_3dcal.mat"):  # fmt: skip
        (folder / name).write_text(f"{name} of somebody else")
    (folder / "columns.yaml").write_text("photons: bg\n")
    (folder / "beside.hdf5.txt").write_text("x")
    (folder / "alone.yaml").write_text("the user's, beside the name of an output that is not there yet")
    array = create_store(folder / "cell.zarr", Layout(4, 1, 16, 16), pixel_size=PixelSize(x_nm=100, y_nm=100))
    array[:] = 100
    (folder / "link.parquet").symlink_to(folder / "table.parquet")
    os.link(folder / "table.parquet", folder / "hard.parquet")
    return folder


TURNED = Transformation(
    model="rigid", coords="raw", pivot_nm=(0.0, 0.0), values=(5.0, 5.0, 0.1),
    parameters=("shift_x_nm", "shift_y_nm", "angle_rad"), covariance=((0.0,) * 3,) * 3,
)  # fmt: skip


def write_localizations(path: Path, *, seed: int = 1) -> None:
    random, canonical = np.random.default_rng(seed), schema(with_sample=False)
    frame = np.repeat(np.arange(40), 3)
    whole = {"frame": frame, "volume": frame, "plane": 0 * frame, "group": 0 * frame - 1}
    columns = {f.name: whole.get(f.name, random.uniform(1, 2000, len(frame))) for f in canonical}
    rows = pa.table([pa.array(columns[f.name].astype(f.type.to_pandas_dtype())) for f in canonical], canonical)
    with table_writer(path, canonical, TableMetadata(pixel_size=PixelSize(x_nm=100, y_nm=100))) as writer:
        writer.write(rows)


QUICK: dict[str, Sequence[str]] = {
    "filter": ("filter", "{table}", "{out}", "--where", "prob > 500"),
    "filter like": ("filter", "{table}", "{out}", "--where", "prob > 500", "--like", "{other}"),
    "debias": ("debias", "{table}", "{out}"),
    "link": ("link", "{table}", "--out", "{out}"),
    "join": ("join", "{table}", "{unlinked}", "--out", "{out}"),
    "register apply": ("register", "{table}", "--apply", "{map}", "--out", "{out}"),
    "drift out": ("drift", "{table}", "--apply", "{curve}", "--out", "{out}"),
    "drift curve": ("drift", "{table}", "--windows", "2", "--curve", "{out}", "--png", "{new}.png"),
    "drift png": ("drift", "{table}", "--windows", "2", "--png", "{out}", "--curve", "{new}.parquet"),
    "render": ("render", "{table}", "{out}", "--pixel-nm", "200"),
    "import": ("import", "{csv}", "{out}", "--pixel-nm", "100"),
    "import parquet": ("import", "{table}", "{out}"),
    "import hdf5": ("import", "{hdf5}", "{out}"),
    "import by a map": ("import", "{csv}", "{out}", "--columns", "{columns}"),
    "config init": ("config", "init", "2d", "--out", "{out}", "--run-config", "{config}"),
    **{f"export {name}": ("export", "{table}", "{out}", "--format", name) for name in
       ("picasso", "decode", "smlm", "csv", "thunderstorm", "decode-csv", "smap", "neuroglancer")},
}  # fmt: skip
SLOW: dict[str, Sequence[str]] = {
    "register": ("register", "{table}", "{other}", "--out", "{out}"),
    "register map": ("register", "{table}", "{other}", "--transformation", "{out}"),
    "evaluate": ("evaluate", "{table}", "{other}", "--report", "{out}"),
    "frc": ("frc", "{table}", "--out", "{out}"),
    "convert": ("convert", "{zarr}", "{out}"),
    "preview": ("preview", "{zarr}", "--model", "{model}", "--config", "{config}", "--out", "{out}"),
    "run": ("run", "{zarr}", "--model", "{model}", "--config", "{config}", "--out", "{out}"),
    "batch": ("batch", "{zarr}", "--model", "{model}", "--config", "{config}", "--out", "{out}"),
    "estimate": ("estimate", "{zarr}", "--base", "storm-2d", "--config", "{config}", "--out", "{out}"),
    "spike-in": ("spike-in", "{zarr}", "--model", "{model}", "--config", "{config}", "--out", "{out}"),
    "train": ("train", "--config", "storm-2d", "--init-from", "{model}", "--out", "{out}"),
    "simulate": ("simulate", "--config", "demo-movie", "--out", "{out}", "--overwrite"),
    "demo": ("demo", "--out", "{out}"),
    "calibrate": ("calibrate", "{zarr}", "--pixel-nm", "100", "--out", "{out}"),
    "calibrate report": ("calibrate", "{zarr}", "--pixel-nm", "100", "--out", "{new}.npz", "--report", "{out}"),
    "recalibrate": ("model", "recalibrate", "{model}", "--out", "{out}"),
    "model info": ("model", "info", "{model}", "--figure", "{out}"),
    "model import": ("model", "import", "{zarr}", "--params", "{config}", "--out", "{out}"),
    "merge": ("merge", "{zarr}", "--to", "{out}"),
    "report": ("report", "{zarr}", "--table", "{table}", "--to", "{out}"),
}
"""Commands with long computations; they are tested only with files that they must refuse before they start."""


@pytest.fixture
def slots(whole: Path) -> dict[str, Path]:
    names = {"table": "table.parquet", "other": "other.parquet", "curve": "curve.parquet", "map": "map.yaml",
             "unlinked": "unlinked.parquet", "csv": "ours.csv",
             "hdf5": "ours.hdf5", "config": "run.yaml", "zarr": "cell.zarr", "model": "model.lls",
             "columns": "columns.yaml", "new": "new"}  # fmt: skip
    return {key: whole / name for key, name in names.items()}


def contents(folder: Path) -> dict[Path, bytes]:
    """Return the content of each file, or the target of a link."""
    return {
        path: os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def restore(folder: Path, before: dict[Path, bytes]) -> None:
    now = contents(folder)
    for path in now.keys() | before.keys():
        if now.get(path) == before.get(path):
            continue
        path.unlink(missing_ok=True)
        if path == folder / "link.parquet":
            path.symlink_to(folder / "table.parquet")
        elif path in before:
            path.write_bytes(before[path])


def try_on_all(words: Sequence[str], slots: dict[str, Path], folder: Path, *, only_refused: bool) -> None:
    """Run a command with each existing file as its output, and check that no other file changes.

    ``--force`` is added for files that the command reads and for a file of another program.
    """
    used = [slots[word.strip("{}")] for word in words if word.startswith("{") and word.strip("{}") in slots]
    before = contents(folder)
    for target, force in itertools.product(before, (False, True)):
        is_read = any(target.samefile(path) or target.is_relative_to(path) for path in used if path.exists())
        kind = kind_of(target)
        if (only_refused and not is_read and (force or kind is not None)) or (
            force and not is_read and target.name != "mine.png"
        ):
            continue
        given = [word.format(out=target, **slots) for word in words]
        result = invoke(*given, *(["--force"] if force else []))
        now = contents(folder)
        changed = {path for path, old in before.items() if now.get(path) != old}
        allowed = {target} if not is_read and (force or kind is not None) else set()
        beside = target.with_suffix(".yaml")
        if target in allowed and words[-1] == "picasso" and (force or kind_of(beside) is not None):
            allowed.add(beside)  # the YAML file belongs to the same output
        assert changed <= allowed, (given, force, changed, result.output, result.exception)
        assert not list(folder.rglob(".tmp-*")), given
        if is_read or (kind is None and not force):
            assert status(result) in ((2, 3) if only_refused else (2,)), (given, result.output, result.exception)
        restore(folder, before)


@pytest.mark.parametrize("words", QUICK.values(), ids=QUICK.keys())
def test_only_the_declared_output_changes(words: Sequence[str], slots: dict[str, Path], whole: Path) -> None:
    try_on_all(words, slots, whole, only_refused=False)


@pytest.mark.parametrize("words", SLOW.values(), ids=SLOW.keys())
def test_long_commands_refuse_files_before_they_start(
    words: Sequence[str], slots: dict[str, Path], whole: Path
) -> None:
    try_on_all(words, slots, whole, only_refused=True)


def test_force_replaces_a_file_of_another_program(slots: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "picture.png"
    out.write_text("mine")
    failed = invoke("render", slots["table"], out, "--pixel-nm", 200)
    assert "--force" in str(failed.exception)
    assert invoke("render", slots["table"], out, "--pixel-nm", 200, "--force").exit_code == 0
    assert kind_of(out) == "a picture (PNG)"
    assert invoke("render", slots["table"], out, "--pixel-nm", 100).exit_code == 0  # now written by lls_decode


def test_a_users_yaml_file_beside_a_picasso_table_is_not_overwritten(slots: dict[str, Path], tmp_path: Path) -> None:
    beside = tmp_path / "mine.yaml"
    beside.write_text("settings: of the user\n")
    failed = invoke("export", slots["table"], tmp_path / "mine.hdf5")
    assert "mine.yaml" in str(failed.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.yaml"]
    assert beside.read_text() == "settings: of the user\n"
    assert invoke("export", slots["table"], tmp_path / "mine.hdf5", "--force").exit_code == 0
    assert invoke("export", slots["table"], tmp_path / "mine.hdf5").exit_code == 0
    assert "Generated by" in beside.read_text()


def test_changing_a_table_in_place_needs_an_option(slots: dict[str, Path], tmp_path: Path) -> None:
    table = tmp_path / "table.parquet"
    table.write_bytes(slots["table"].read_bytes())
    failed = invoke("drift", table, "--apply", slots["curve"], "--out", table)
    assert "--in-place" in str(failed.exception)
    assert table.read_bytes() == slots["table"].read_bytes()
    assert invoke("drift", table, "--apply", slots["curve"], "--in-place").exit_code == 0
    assert table.read_bytes() != slots["table"].read_bytes()
    assert invoke("drift", table, "--undo", "--in-place").exit_code == 0
    assert invoke("link", table).exit_code == 0
    assert invoke("link", table, "--undo").exit_code == 0


def test_link_does_not_overwrite_a_file_of_another_program(slots: dict[str, Path], tmp_path: Path) -> None:
    table, molecules = tmp_path / "table.parquet", tmp_path / "molecules.parquet"
    table.write_bytes(slots["table"].read_bytes())
    molecules.write_text("mine")
    assert status(invoke("link", table)) == 2
    assert molecules.read_text() == "mine"
    assert table.read_bytes() == slots["table"].read_bytes()


def test_a_batch_does_not_overwrite_its_own_list(slots: dict[str, Path], tmp_path: Path) -> None:
    listed = tmp_path / "batch.csv"
    listed.write_text(f"dataset\n{slots['zarr']}\n")
    result = invoke("batch", listed, "--model", slots["model"], "--config", slots["config"], "--out", tmp_path)
    assert status(result) == 2
    assert listed.read_text() == f"dataset\n{slots['zarr']}\n"


def test_convert_does_not_overwrite_a_store_of_another_program(slots: dict[str, Path], tmp_path: Path) -> None:
    import zarr

    store, movie = tmp_path / "theirs.zarr", tmp_path / "movie.tif"
    zarr.create_array(store, shape=(2, 8, 8), dtype="uint16", chunks=(1, 8, 8))[:] = 7
    import tifffile

    tifffile.imwrite(movie, np.zeros((4, 8, 8), np.uint16), photometric="minisblack")
    before = contents(store)
    assert status(invoke("convert", movie, store, "--overwrite")) == 2
    assert contents(store) == before
    assert status(invoke("convert", movie, tmp_path, "--overwrite", "--force")) == 2
    assert contents(store) == before
    assert invoke("convert", movie, store, "--overwrite", "--force").exit_code == 0
    assert invoke("convert", movie, store, "--overwrite").exit_code == 0  # now written by lls_decode


def test_no_command_writes_into_a_zarr_store(tmp_path: Path) -> None:
    """Files of results in a store would be taken for data, by this program or by others; links do not hide a store."""
    store, table = tmp_path / "a.zarr", tmp_path / "t.parquet"
    create_store(store, Layout(8, 1, 16, 16), dtype="uint16")
    (tmp_path / "link").symlink_to(store)
    canonical = schema(with_sample=False)
    with table_writer(table, canonical, TableMetadata()) as writer:
        writer.write(canonical.empty_table())
    before = set(store.rglob("*"))
    for words in (
        ("filter", table, store / "t.parquet", "--where", "x_nm > 1"),
        ("filter", table, tmp_path / "link" / "t.parquet", "--where", "x_nm > 1"),
        ("render", table, store / "new" / "t.png"),
        ("convert", store, store / "b.zarr"),
        ("simulate", "--config", "demo-movie", "--out", store, "--overwrite", "--force"),
        ("simulate", "--config", "demo-movie", "--out", tmp_path / "link", "--overwrite", "--force"),
        ("train", "--config", "storm-2d", "--out", store),
        ("batch", tmp_path / "*.zarr", "--model", "lls-paint", "--out", store / "results"),
        ("demo", "--out", store),
    ):
        result = invoke(*words)
        assert status(result) == 2, words
        assert "results are never written into data" in str(result.exception), words
    assert set(store.rglob("*")) == before


def test_names_that_are_not_utf8_are_refused_at_the_door(tmp_path: Path) -> None:
    """Parquet, zarrs and safetensors cannot open such files; convert can, to give them another name."""
    name = tmp_path / os.fsdecode(b"gr\xf6\xdfe")
    for words in (("filter", name, tmp_path / "o.parquet", "--where", "x_nm > 1"), ("status", name),
                  ("run", tmp_path / "a.zarr", "--model", "lls-paint", "--out", name)):  # fmt: skip
        result = invoke(*words)
        assert status(result) == 2
        assert "has a name that is not UTF-8" in str(result.exception)
    assert "does not exist" in str(invoke("convert", name, tmp_path / "o.zarr").exception)
