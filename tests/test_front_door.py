"""The front door, ``import lls_decode as lls``: functions that take paths, names, arrays and dictionaries."""

import ast
import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pyarrow as pa
import pytest
import yaml
import zarr
from distributed import Client
from zarr.storage import MemoryStore

import lls_decode as lls
from lls_decode.axes import Layout
from lls_decode.config import ResolvedRunConfig, RunConfig, parse
from lls_decode.errors import BundleError, ChunkError, ConfigError, FrameValueError, InputError, LlsDecodeError
from lls_decode.localize import build_localizer
from lls_decode.models import find_bundle
from lls_decode.pipelines.cli import SECTIONS
from lls_decode.pipelines.planning.plan import make_plan
from lls_decode.pipelines.running import tasks
from lls_decode.pipelines.running.arithmetic import settle_here
from lls_decode.table import TableMetadata
from tests.pipelines.conftest import write_bundle, write_movie

CONFIG = {"compute": {"device": "cpu"}, "compute.threads": 1, "execution.block_frames": 16}
GROUPS = {"model", "config", "cluster"}
"""Commands that only group other commands and therefore have no function."""
NAMES = {"import": "import_table"}
"""Functions of commands whose name is a reserved word in Python."""

SCRIPT = """
import sys
import lls_decode as lls
import dask.array
import zarr
from distributed import Client

movie, model = sys.argv[1:]
config = {"compute.device": "cpu", "compute.threads": 1, "execution.block_frames": 16}
dataset = lls.open(movie)
table = lls.localize(dataset, model, config=config)
array = zarr.open_array(movie)[:]
result = lls.run(dataset, model, "results/", config=config, workers=1)
merged = lls.read_table("results/localizations.parquet")
assert table.num_rows > 1000
assert merged.equals(table)
assert merged.schema.metadata == table.schema.metadata
assert lls.localize(array, model, config=config).equals(table)
lazy = dask.array.from_array(array, chunks=(7, -1, -1))
assert lls.localize(lazy, model, config=config).equals(table)
with Client(processes=False, n_workers=1, dashboard_address="127.0.0.1:0"):
    rows = lls.to_dask_dataframe(dataset, model, config=config)
    found = rows[rows.photons > 100].compute()
    assert rows.compute().reset_index(drop=True).equals(table.to_pandas())
assert 0 < len(found) <= table.num_rows
print("all the same", result.exit_status, result.merged)
"""


class Place:
    """A folder with a small movie, a small dataset of volumes, and a model for each of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.movie = write_movie(folder / "movie.zarr", (50, 40, 48))
        self.sweeps = write_movie(folder / "sweeps.zarr", (6, 5, 40, 48))
        self.model = write_bundle(folder / "time.lls", context="time")
        self.plane_model = write_bundle(folder / "plane.lls", context="plane", shift_px=3)
        self.frames = np.asarray(zarr.open_array(str(self.movie), mode="r")[:])
        self.table = lls.localize(self.movie, self.model, config=CONFIG)

    def localize(self, dataset: Any, config: Any = None, **options: Any) -> pa.Table:
        return lls.localize(dataset, self.model, config=CONFIG if config is None else config, **options)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


def in_memory(frames: np.ndarray[Any, Any]) -> "zarr.Array[Any]":
    array = zarr.create_array(MemoryStore(), shape=frames.shape, dtype=frames.dtype, chunks=(4, *frames.shape[1:]))
    array[:] = frames
    return array


def test_importing_the_package_imports_no_heavy_library() -> None:
    heavy = ("torch", "dask", "distributed", "pandas", "zarr", "pyarrow", "numpy")
    program = f"import sys, lls_decode; dir(lls_decode); print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


COMMANDS = [command for commands in SECTIONS.values() for command in commands]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command.name))
def test_every_command_has_a_function(command: Any) -> None:
    name = NAMES.get(command.name, command.name.replace("-", "_"))
    assert (name in lls.FRONT_DOOR) == (name not in GROUPS)


@pytest.mark.parametrize("name", lls.FRONT_DOOR)
def test_names_refer_to_the_objects_listed_in_the_table(name: str) -> None:
    module, _, attribute = lls.FRONT_DOOR[name].partition(":")
    found = getattr(lls, name)
    assert inspect.unwrap(found) is inspect.unwrap(getattr(import_module(module), attribute))
    assert found.__doc__
    assert name in dir(lls)


def test_the_stub_lists_the_same_names_as_the_table() -> None:
    tree = ast.parse(Path(lls.__file__).with_suffix(".pyi").read_text())
    imported = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("lls_decode")
        for alias in node.names
    }
    assert imported == dict(lls.FRONT_DOOR)
    (exported,) = (node.value for node in tree.body if isinstance(node, ast.Assign))
    assert set(ast.literal_eval(exported)) == {*lls.FRONT_DOOR, "FRONT_DOOR", "__version__"}


def test_the_package_is_marked_as_typed() -> None:
    assert Path(lls.__file__).with_name("py.typed").exists()


def test_unknown_names_raise_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'localise'"):
        _ = lls.localise  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["drift", "evaluate", "export", "localize", "simulate"])
def test_a_function_gives_access_to_the_package_of_the_same_name(name: str) -> None:
    package = import_module(f"lls_decode.{name}")
    found: Any = getattr(lls, name)
    assert found is not package
    assert list(inspect.signature(found).parameters)
    assert all(getattr(found, inner) is getattr(package, inner) for inner in getattr(package, "__all__", ()))
    assert inspect.unwrap(pickle.loads(pickle.dumps(found))) is inspect.unwrap(found)


def test_python_m_runs_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "lls_decode", "--version"], capture_output=True, text=True, check=True)
    assert lls.__version__ in done.stdout


def test_a_short_script_runs_without_a_main_guard(place: Place, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script.name, str(place.movie), str(place.model)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "all the same 0 results/localizations.parquet\n"


FORMS: dict[str, Callable[[Place], Any]] = {
    "text": lambda place: str(place.movie),
    "address": lambda place: place.movie.as_uri(),
    "opened": lambda place: lls.open(place.movie),
    "opened with keywords": lambda place: lls.open(place.movie, axes="tyx"),
    "source": lambda place: lls.open(place.movie).source,
    "numpy": lambda place: place.frames,
    "numpy, big-endian": lambda place: place.frames.astype(">u2"),
    "numpy, not contiguous": lambda place: np.asfortranarray(place.frames),
    "dask": lambda place: da.from_array(place.frames, chunks=(7, 40, 24)),
    "zarr array": lambda place: zarr.open_array(str(place.movie), mode="r"),
    "zarr array in memory": lambda place: in_memory(place.frames),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_the_same_frames_give_the_same_table(form: Callable[[Place], Any], place: Place) -> None:
    found = place.localize(form(place))
    assert found.num_rows > 1000
    assert found.equals(place.table)
    ours, theirs = (TableMetadata.from_schema_metadata(t.schema.metadata, source="") for t in (found, place.table))
    assert ours.columns == theirs.columns
    assert (ours.camera, ours.pixel_size, ours.model_digest) == (theirs.camera, theirs.pixel_size, theirs.model_digest)


def test_a_table_has_the_metadata_of_a_run(place: Place) -> None:
    plan = make_plan(place.movie, place.model, place.folder / "nowhere", CONFIG)
    metadata = TableMetadata.from_schema_metadata(place.table.schema.metadata, source="")
    assert metadata.run_digest == settle_here(plan).run_digest
    assert metadata.input["path"] == str(place.movie)
    assert (metadata.width, metadata.height, metadata.num_frames) == (48, 40, 50)
    assert b"PANDAS_ATTRS" in place.table.schema.metadata


def test_volumes_in_any_form_give_the_same_table(place: Place) -> None:
    expected = lls.localize(place.sweeps, place.plane_model, config=CONFIG)
    assert expected.num_rows > 500
    assert "xs_nm" in expected.column_names
    volumes = np.asarray(zarr.open_array(str(place.sweeps), mode="r")[:])
    assert lls.localize(volumes, place.plane_model, config=CONFIG).equals(expected)
    stream = lls.open(volumes.reshape(30, 40, 48), planes_per_volume=5)
    assert stream.shape == (6, 5, 40, 48)
    assert lls.localize(stream, place.plane_model, config=CONFIG).equals(expected)
    rows = lls.to_dask_dataframe(stream, place.plane_model, config=CONFIG)
    assert rows.compute(scheduler="sync").reset_index(drop=True).equals(expected.to_pandas())


def test_a_part_of_an_array_gives_the_table_of_the_same_part_of_a_file(place: Place) -> None:
    config = {**CONFIG, "part": {"volumes": [10, 30], "roi": {"x": [8, 40], "y": [4, 20]}}}
    expected = place.localize(place.movie, config)
    assert 50 < expected.num_rows < place.table.num_rows
    assert place.localize(place.frames, config).equals(expected)
    assert place.localize(da.from_array(place.frames), config).equals(expected)


def test_arrays_are_read_block_by_block(place: Place) -> None:
    class Recording:
        """An array that records the largest number of frames read at once."""

        shape, dtype = place.frames.shape, place.frames.dtype

        def __init__(self) -> None:
            self.largest = 0

        def __getitem__(self, index: tuple[slice, ...]) -> Any:
            found = place.frames[index]
            self.largest = max(self.largest, len(found))
            return found

    array = Recording()
    assert place.localize(array).equals(place.table)
    assert array.largest == 18  # a block and one frame of context on either side


def test_a_block_computes_only_its_own_frames_of_a_dask_array(place: Place) -> None:
    computed: list[int] = []

    def frame(block_info: Any = None) -> Any:
        number = block_info[None]["array-location"][0][0]
        computed.append(number)
        return place.frames[number : number + 1]

    lazy = da.map_blocks(frame, chunks=((1,) * 50, (40,), (48,)), dtype=place.frames.dtype)
    rows = lls.to_dask_dataframe(lazy, place.model, config=CONFIG)
    computed.clear()
    part = rows.partitions[1].compute(scheduler="sync")
    assert sorted(computed) == list(range(15, 33))  # a block and one frame of context on either side
    expected = place.table.to_pandas()
    expected = expected[(expected.frame >= 16) & (expected.frame < 32)]
    assert part.reset_index(drop=True).equals(expected.reset_index(drop=True))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as client:
        yield client


@pytest.mark.parametrize("form", ["opened", "numpy", "dask", "zarr array", "zarr array in memory"])
@pytest.mark.parametrize("scheduler", ["threads", "client"])
def test_a_dataframe_has_the_rows_of_the_table(
    form: str, scheduler: str, place: Place, request: pytest.FixtureRequest
) -> None:
    options = {"scheduler": request.getfixturevalue("client") if scheduler == "client" else scheduler}
    rows = lls.to_dask_dataframe(FORMS[form](place), place.model, config=CONFIG)
    assert rows.npartitions == 4
    expected = place.table.to_pandas()
    assert rows.dtypes.equals(expected.dtypes)
    assert rows.compute(**options).reset_index(drop=True).equals(expected)
    bright = rows[rows.photons > 500].compute(**options)
    assert 0 < len(bright) < len(expected)
    assert bright.reset_index(drop=True).equals(expected[expected.photons > 500].reset_index(drop=True))


def test_a_process_loads_the_model_once(place: Place) -> None:
    rows = lls.to_dask_dataframe(place.movie, place.model, config=CONFIG)
    built = []
    for number in range(rows.npartitions):
        rows.partitions[number].compute(scheduler="sync")
        assert tasks._built is not None
        built.append(tasks._built[1])
    assert all(localizer is built[0] for localizer in built)


def test_without_pandas_a_dataframe_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask.dataframe", None)
    with pytest.raises(ConfigError, match=r"needs pandas.*pip install 'lls-decode\[dataframe\]'"):
        lls.to_dask_dataframe(place.movie, place.model)


def test_configurations_of_every_form_give_the_same_run(place: Place, tmp_path: Path) -> None:
    nested = {"compute": {"device": "cpu", "threads": 1}, "execution": {"block_frames": 16}}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(nested))
    forms = [CONFIG, nested, RunConfig.model_validate(nested), path, str(path)]
    plans = [make_plan(place.movie, place.model, tmp_path, form) for form in forms]
    assert {plan.run_digest for plan in plans} == {plans[0].run_digest}
    assert all(plan.config == plans[0].config for plan in plans)
    localizer = build_localizer(place.model, path, plans[0].layout)
    assert localizer.run(plans[0].source.read(plans[0].blocks[0])).num_rows > 100


def test_a_model_by_name_and_an_empty_configuration_build_a_localizer() -> None:
    localizer = build_localizer("lls-paint", RunConfig(), Layout(1, 3, 64, 64))
    assert localizer.pixel == localizer.bundle.info.pixel_size
    assert localizer.geometry == localizer.bundle.info.geometry


def test_a_resolved_configuration_gives_the_same_run(place: Place, tmp_path: Path) -> None:
    plan = make_plan(place.movie, place.model, tmp_path, CONFIG)
    assert type(plan.config) is ResolvedRunConfig
    plain = RunConfig.model_validate(plan.config.to_dict())
    assert plain.to_yaml() == plan.config.to_yaml()
    assert plain.digest() == plan.config.digest()
    assert make_plan(place.movie, place.model, tmp_path, plan.config).run_digest == plan.run_digest
    with pytest.raises(ConfigError, match="camera: Field required"):
        parse(ResolvedRunConfig, {"pixel_size": {"x_nm": 100, "y_nm": 100}}, source="test")


def test_an_opened_dataset_provides_the_settings_that_a_call_omits(place: Place) -> None:
    opened = lls.open(place.movie, axes="tyx", config={**CONFIG, "detection.accept": 1.2})
    kept = lls.localize(opened, place.model)
    assert 0 < kept.num_rows < place.table.num_rows
    assert lls.localize(opened, place.model, config={"detection.accept": 0.7}).equals(place.table)
    metadata = TableMetadata.from_schema_metadata(kept.schema.metadata, source="")
    assert metadata.configuration["input"]["axes"] == "tyx"
    command = make_plan(place.movie, place.model, "x", {**CONFIG, "detection.accept": 1.2, "input.axes": "tyx"})
    assert metadata.run_digest == settle_here(command).run_digest


def test_a_lost_chunk_raises_an_error(place: Place) -> None:
    array = in_memory(place.frames)
    store: Any = array.store
    del store._store_dict["c/3/0/0"]
    with pytest.raises(ChunkError, match=r"chunk c/3/0/0 is missing, it holds frames 12 to 15"):
        place.localize(array)


def nan_frames(place: Place) -> Any:
    frames = place.frames.astype(np.float32)
    frames[20, 3, 4] = np.nan
    return frames


def call(name: str, *arguments: Any, **options: Any) -> Callable[[Place], Any]:
    """Return a function of a place that calls the front door; callable arguments are first called with the place."""

    def run(place: Place) -> Any:
        given = [item(place) if callable(item) else item for item in arguments]
        return getattr(lls, name)(*given, **options)

    return run


MOVIE: Callable[[Place], Any] = lambda place: place.movie  # noqa: E731
MODEL: Callable[[Place], Any] = lambda place: place.model  # noqa: E731
FRAMES: Callable[[Place], Any] = lambda place: place.frames  # noqa: E731
WRONG: dict[str, tuple[Callable[[Place], Any], type[LlsDecodeError], str]] = {
    "model name": (
        call("localize", MOVIE, "lls-pant"),
        BundleError,
        r"lls-pant does not exist.*shipped one \(.*lls-paint",
    ),
    "model type": (call("localize", MOVIE, 7), BundleError, "is of type int, expected the path"),
    "config key": (
        call("localize", MOVIE, MODEL, config={"detecton.accept": 1}),
        ConfigError,
        r"config: unknown key 'detecton' \(did you mean 'detection'\?\)",
    ),
    "inner config key": (
        call("localize", MOVIE, MODEL, config={"detection": {"acept": 1}}),
        ConfigError,
        r"unknown key 'detection.*acept' \(did you mean 'accept'\?\)",
    ),
    "config value": (call("open", MOVIE, config={"input.channel": -1}), ConfigError, "input.channel: .*found -1"),
    "config twice": (
        call("open", MOVIE, config={"part": {"volumes": [1, 2]}, "part.volumes": [1, 3]}),
        ConfigError,
        "part.volumes is given twice",
    ),
    "config type": (call("localize", MOVIE, MODEL, config=3), ConfigError, "is of type int, expected RunConfig"),
    "config key type": (call("localize", MOVIE, MODEL, config={3: 4}), ConfigError, "key 3 is of type int"),
    "config path": (call("localize", MOVIE, MODEL, config="no.yaml"), ConfigError, "no.yaml cannot be read"),
    "path": (call("open", "no.zarr"), InputError, "no.zarr does not exist"),
    "keyword": (call("open", MOVIE, axes="tyw!"), ConfigError, "axes: "),
    "one frame": (
        call("localize", lambda place: place.frames[0], MODEL),
        InputError,
        r"has 2 axes.*give array\[None\]",
    ),
    "NaN": (call("localize", nan_frames, MODEL), FrameValueError, "NaN or infinite values in frame 20"),
    "objects": (call("localize", lambda place: place.frames.astype(object), MODEL), InputError, "of type object"),
    "empty": (call("localize", lambda place: place.frames[:0], MODEL), InputError, "is empty"),
    "list": (call("localize", [[1, 2], [3, 4]], MODEL), InputError, "is of type list, expected the path"),
    "nothing": (call("localize", None, MODEL), InputError, "is of type NoneType"),
    "unknown length": (
        call("localize", lambda place: (a := da.from_array(place.frames))[a[:, 0, 0] > 0], MODEL),
        InputError,
        "unknown length.*compute_chunk_sizes",
    ),
    "masked": (
        call("localize", lambda place: np.ma.masked_greater(place.frames, 140), MODEL),
        FrameValueError,
        "masked pixels",
    ),
    "array and its path": (call("open", FRAMES, array="0"), InputError, "omit input.array"),
    "input of what is open": (
        call("localize", lambda place: lls.open(place.movie), MODEL, config={"input.skip_first": 1}),
        ConfigError,
        "the dataset is already open",
    ),
    "run of an array": (call("run", FRAMES, MODEL, "out"), ConfigError, "workers cannot access"),
    "site": (
        call("run", MOVIE, MODEL, "out", site="locl"),
        LlsDecodeError,
        r"Unknown site 'locl' \(did you mean 'local'",
    ),
    "training key": (call("train", {"stps": 3}, "out"), ConfigError, r"unknown key 'stps' \(did you mean 'steps'\?\)"),
    "training name": (call("train", "lls-pant", "out"), ConfigError, "lls-pant does not exist"),
    "movie key": (call("simulate", {"num_volume": 3}, "out"), ConfigError, "did you mean 'num_volumes'"),
    "base": (call("estimate", MOVIE, "lls-pant"), ConfigError, "lls-pant does not exist"),
    "preview": (call("preview", MOVIE, MODEL, "a.png", config={"par": 1}), ConfigError, "did you mean 'part'"),
    "batch": (call("batch", "*.zarr", "out", model="lls-paint", config={"par": 1}), ConfigError, "did you mean 'part'"),
    "picture": (call("render", "a.parquet", "a.zarr", colour="depth"), ConfigError, "a.zarr does not accept colour"),
}


@pytest.mark.parametrize(("wrong", "error", "words"), WRONG.values(), ids=WRONG.keys())
def test_wrong_use_gives_a_message_of_one_line(
    wrong: Callable[[Place], Any],
    error: type[LlsDecodeError],
    words: str,
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words) as caught:
        wrong(place)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_not_mistaken_for_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lls-paint").mkdir()
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_bundle("lls-paint").is_file()
    with pytest.raises(BundleError, match="mine is a folder"):
        find_bundle("mine")


def test_a_configuration_file_keeps_the_camera_of_an_opened_dataset(place: Place, tmp_path: Path) -> None:
    camera = {"kind": "scmos", "offset_adu": 90.0, "gain_adu_per_e": 1.0, "variance_adu2": 2.0}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"detection": {"accept": 0.7}}))
    opened = lls.open(place.movie, config={**CONFIG, "camera": camera})
    table = lls.localize(opened, place.model, config=tmp_path / "run.yaml")
    found = TableMetadata.from_schema_metadata(table.schema.metadata, source="").camera
    assert found is not None
    assert found.to_dict().items() >= camera.items()
