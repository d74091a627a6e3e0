"""Hostile and broken files: each case creates its files in a folder and returns the command line that reads them."""

import json
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import zarr

from lls_decode.config import GaussianPsf, NetworkConfig, PixelSize, Scaling, ScmosCamera
from lls_decode.model.bundle import save_bundle
from lls_decode.model.info import BundleInfo
from lls_decode.model.network import LocNet
from lls_decode.table import TableMetadata, schema, table_writer
from tests.pipelines.run_folders import make_folder

Case = Callable[[Path], list[str]]
"""Function that creates files in an empty folder and returns the arguments of ``lls-decode``."""
CASES: dict[str, dict[str, Case]] = {}
"""Cases by group and by name; the cases of a group run in one process."""

_LEVELS = 100_000
_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)


def _case(group: str, name: str) -> Callable[[Case], Case]:
    def add(make: Case) -> Case:
        CASES.setdefault(group, {})[name] = make
        return make

    return add


def _add_all(group: str, makers: dict[str, Callable[[Path], None]], arguments: Callable[[Path], list[str]]) -> None:
    """Add one case for each function that creates the file ``folder / "x"``."""
    for name, make in makers.items():

        def case(folder: Path, make: Callable[[Path], None] = make) -> list[str]:
            make(folder / "x")
            return arguments(folder)

        CASES.setdefault(group, {})[name] = case


def _text(text: str, encoding: str = "utf-8") -> Callable[[Path], None]:
    return lambda path: path.write_bytes(text.encode(encoding)) and None


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def _sparse(size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return make


NO_FILES: dict[str, Callable[[Path], None]] = {
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "a socket": _socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a sparse gigabyte": _sparse(1 << 30),
    "an empty file": _sparse(0),
}
YAML: dict[str, Callable[[Path], None]] = {
    **NO_FILES,
    "latin-1": _text("detection: {rule: mödel}\n", "latin-1"),
    "utf-16 with unknown keys": _text("detektion: {rule: model}\n", "utf-16"),
    "utf-16 without a byte order mark": _text("detection: {rule: model}\n", "utf-16-le"),
    "alias bomb": _text(_BOMB),
    "alias of itself": _text("a: &a [*a]\n"),
    "flow nesting": _text("[" * _LEVELS),
    "mapping nesting": _text("{a: " * _LEVELS),
    "block nesting": _text("- " * _LEVELS),
    "a long number": _text("a: " + "1" * 3_000_000),
    "a long sexagesimal": _text("a: " + "1:" * 1_000_000 + "1"),
    "an invalid date": _text("a: 2001-99-99\n"),
    "an invalid timestamp": _text("a: !!timestamp soon\n"),
    "a Python object": _text("a: !!python/object/apply:os.system ['true']\n"),
    "many values": _text("- a\n" * 900_000),
    "many unknown keys": _text("".join(f"k{i}: 1\n" for i in range(50_000))),
    "a long key": _text(f"? {'k' * 1_000_000}\n: 1\n"),
    "escape sequences": _text('"\\e[2J\\e[31m": 1\n'),
    "several documents": _text("---\na: 1\n---\nb: 2\n"),
    "a list": _text("[1, 2]\n"),
    "zero bytes": _sparse(1000),
}


def _bundle(path: Path, *, change: Callable[[dict[str, Any]], Any] | None = None, weight: float | None = None) -> None:
    """Write a small bundle, optionally with a changed record or with a given value as one weight."""
    torch.manual_seed(0)
    network = LocNet(NetworkConfig(filters=4))
    if weight is not None:
        with torch.no_grad():
            next(iter(network.parameters()))[0] = weight
    info = BundleInfo(
        name="a", network=NetworkConfig(filters=4),
        scaling=Scaling(input_scale=100, input_offset=0, photons=1e4, z_nm=500, bg=100),
        pixel_size=PixelSize(x_nm=100, y_nm=100), camera=ScmosCamera(offset_adu=100, gain_adu_per_e=1, variance_adu2=2),
        psf=GaussianPsf(sigma_nm=130), z_range_nm=(-500, 500), photons_range=(100, 1000), bg_range=(1, 10),
    )  # fmt: skip
    save_bundle(path, network, info)
    if change is not None:
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        record = change(json.loads(header["__metadata__"]["lls_decode"]))
        header["__metadata__"]["lls_decode"] = record if isinstance(record, str) else json.dumps(record)
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


def _filters(record: dict[str, Any], number: int) -> dict[str, Any]:
    return {**record, "network": {**record["network"], "filters": number}}


def _nested(document: dict[str, Any], key: str) -> str:
    """Return a JSON document in which the value of one key is deeply nested."""
    return json.dumps({**document, key: 0}).replace(f'"{key}": 0', f'"{key}": {"[" * 5000}{"]" * 5000}')


def _header(text: bytes, length: int | None = None) -> Callable[[Path], None]:
    return lambda path: (
        path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text) and None
    )


def _cut(path: Path) -> None:
    _bundle(path)
    path.write_bytes(path.read_bytes()[:-1000])


SHOWN = {name: YAML[name] for name in (*NO_FILES, "latin-1", "zero bytes", "alias bomb", "several documents", "a list")}
"""Files that ``config show`` refuses; it prints any mapping."""


def _named(path: str) -> Callable[[Path], None]:
    """Return a function that names an output path, relative to the folder of the case."""
    return lambda given: given.with_name("x.path").write_text(str(given.parent / path)) and None


def _through_loop(path: Path) -> None:
    path.symlink_to(path)
    _named("x/out")(path)


def _through_file(path: Path) -> None:
    path.touch()
    _named("x/out")(path)


OUTPUTS: dict[str, Callable[[Path], None]] = {
    "a name of 300 characters": _named("n" * 300),
    "a path of 6000 characters": _named("/".join(["n" * 200] * 30)),
    "a folder that is a link to itself": _through_loop,
    "a folder that is a file": _through_file,
    "a folder": NO_FILES["a folder"],
    "a pipe": NO_FILES["a pipe"],
    "a device": NO_FILES["a device"],
}
RUN_OUTPUTS = {name: make for name, make in OUTPUTS.items() if name != "a folder"} | {
    "a link to nothing": NO_FILES["a link to nothing"],
    "a link to itself": NO_FILES["a link to itself"],
    "a file": lambda path: path.touch(),
}
"""Output paths that a run refuses when it is planned."""

BUNDLES: dict[str, Callable[[Path], None]] = {
    **NO_FILES,
    "nesting in the header": _header(b"[" * _LEVELS),
    "nesting in the record": lambda path: _bundle(path, change=lambda _: "[" * _LEVELS),
    "nesting in its training": lambda path: _bundle(path, change=lambda record: _nested(record, "training")),
    "20 000 filters": lambda path: _bundle(path, change=lambda record: _filters(record, 20_000)),
    "500 filters": lambda path: _bundle(path, change=lambda record: _filters(record, 500)),
    "a header longer than the file": _header(b"{}", 1 << 60),
    "a header of 90 MB": _header(b" " * 90_000_000),
    "truncated": _cut,
    "NaN in a weight": lambda path: _bundle(path, weight=float("nan")),
    "infinity in a weight": lambda path: _bundle(path, weight=float("inf")),
    "offsets beyond the end": _header(json.dumps({
        "__metadata__": {"lls_decode": "{}"}, "a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}
    }).encode()),
    "escape sequences": lambda path: _bundle(path, change=lambda record: {**record, "\x1b[2J": 1}),
}  # fmt: skip


def _table(path: Path, *, key: bytes | None = None, columns: dict[str, Any] | None = None, rows: int = 10) -> None:
    """Write a small table, optionally with other metadata or with other values in some columns."""
    canonical = schema(with_sample=False)
    values = [pa.array(np.zeros(rows, field.type.to_pandas_dtype())) for field in canonical]
    with table_writer(path, canonical, TableMetadata(), own_folder=True) as writer:
        writer.write(pa.table(values, schema=canonical))
    table = pq.read_table(path)
    for name, column in (columns or {}).items():
        table = table.set_column(table.column_names.index(name), name, pa.array(column))
    if key is not None:
        table = table.replace_schema_metadata({b"lls_decode": key})
    pq.write_table(table, path)


def _parquet_footer(length: int) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(b"PAR1" + bytes(100) + struct.pack("<I", length) + b"PAR1") and None


def _truncated_table(path: Path) -> None:
    _table(path)
    path.write_bytes(path.read_bytes()[:-100])


TABLES: dict[str, Callable[[Path], None]] = {
    **NO_FILES,
    "nesting in its metadata": lambda path: _table(path, key=b"[" * _LEVELS),
    "metadata that is not text": lambda path: _table(path, key=b"\xff\xfe\x00"),
    "metadata of other types": lambda path: _table(path, key=json.dumps({"version": "abc"}).encode()),
    "a list as metadata": lambda path: _table(path, key=b"[1]"),
    "text in a number column": lambda path: _table(path, columns={"x_nm": ["one"] * 10}),
    "lists in a number column": lambda path: _table(path, columns={"x_nm": [[1.0]] * 10}),
    "a footer longer than the file": _parquet_footer(1 << 31),
    "a footer of zeros": _parquet_footer(50),
    "truncated": _truncated_table,
}
CSV: dict[str, Callable[[Path], None]] = {
    **NO_FILES,
    "text in a number column": _text("frame,x_nm,y_nm\n1,2,3\n1,two,3\n"),
    "one line of 100 MB": lambda path: path.write_bytes(b"frame,x_nm,y_nm\n" + b"1," * 50_000_000) and None,
    "a head of 100 MB": lambda path: path.write_bytes(b"a," * 50_000_000) and None,
    "zero bytes": _sparse(100_000),
    "rows of different lengths": _text("frame,x_nm,y_nm\n1,2,3\n1,2\n"),
    "an unclosed quote": _text('frame,x_nm,y_nm\n1,2,"3\n' + "4,5,6\n" * 100_000),
}


def _store(path: Path, **options: Any) -> Any:
    return zarr.create_array(path, **{"shape": (8, 40, 48), "chunks": (4, 40, 48), "dtype": "u2", **options})


def _metadata(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        _store(path)[:] = 100
        file = path / "zarr.json"
        found = change(json.loads(file.read_text()))
        file.write_text(found if isinstance(found, str) else json.dumps(found), errors="surrogateescape")

    return make


def _shaped(shape: list[int], chunks: list[int]) -> Callable[[Path], None]:
    def change(document: dict[str, Any]) -> dict[str, Any]:
        document["chunk_grid"]["configuration"]["chunk_shape"] = chunks
        return {**document, "shape": shape}

    return _metadata(change)


def _bomb_store(path: Path) -> None:
    array = _store(path, compressors=[zarr.codecs.ZstdCodec()])
    array[:] = 100
    bomb = bytes(numcodecs.Zstd().encode(bytes(1 << 30)))
    for chunk in (path / "c").rglob("0"):
        if chunk.is_file():
            chunk.write_bytes(bomb)


def _chunk(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        _store(path)[:] = 100
        chunk = path / "c" / "1" / "0" / "0"
        chunk.unlink()
        make(chunk)

    return replace


CHUNKS = {name: _chunk(make) for name, make in NO_FILES.items()}
"""Stores whose second chunk is no file of the right size."""


def _metadata_pipe(path: Path) -> None:
    path.mkdir()
    os.mkfifo(path / "zarr.json")


DATASETS: dict[str, Callable[[Path], None]] = {
    **{name: make for name, make in NO_FILES.items() if name != "a folder"},
    "an empty folder": lambda path: path.mkdir(),
    "nesting in its metadata": _metadata(lambda _: "[" * _LEVELS),
    "nesting in its attributes": _metadata(lambda document: _nested(document, "attributes")),
    "metadata of 100 MB": _metadata(lambda _: "{" + " " * 100_000_000 + "}"),
    "metadata in latin-1": _metadata(lambda document: json.dumps({**document, "\udcf6": 1}, ensure_ascii=False)),
    "a pipe as metadata": _metadata_pipe,
    "frames of 2^40 pixels": _shaped([8, 1 << 20, 1 << 20], [1, 64, 64]),
    "10^15 frames": _shaped([10**15, 40, 48], [4, 40, 48]),
    "a shape of 2^200": _shaped([1 << 200, 40, 48], [4, 40, 48]),
    "a negative shape": _shaped([-8, 40, 48], [4, 40, 48]),
    "chunks of zero": _shaped([8, 40, 48], [0, 40, 48]),
    "a chunk of 2^50 bytes": _shaped([1 << 39, 40, 48], [1 << 39, 40, 48]),
}  # fmt: skip


def _run_folder(change: Callable[[Path], None]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        make_folder(path).done(0, 10)
        change(path)

    return make


def _replaced(name: str, make: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(out: Path) -> None:
        (out / name).unlink(missing_ok=True)
        make(out / name)

    return _run_folder(change)


RUNS: dict[str, Callable[[Path], None]] = {
    **{f"run.json: {name}": _replaced("run.json", make) for name, make in NO_FILES.items()},
    "run.json: nesting": _replaced("run.json", _text("[" * _LEVELS)),
    "run.json: latin-1": _replaced("run.json", _text('{"dataset": "größe"}', "latin-1")),
    "run.json: a list": _replaced("run.json", _text("[]")),
    "run.json: truncated": _run_folder(
        lambda out: (out / "run.json").write_bytes((out / "run.json").read_bytes()[:500]) and None
    ),
}
UNHARMED: dict[str, Callable[[Path], None]] = {
    "a lock that is not UTF-8": _replaced("run.lock", lambda path: path.write_bytes(b"\xff\xfe\x00\x80") and None),
    "a sparse gigabyte as lock": _replaced("run.lock", _sparse(1 << 30)),
    "a ledger of zero bytes": _replaced("ledger.jsonl", _sparse(1 << 20)),
    "nesting in the ledger": _replaced("ledger.jsonl", _text('{"event":"BlockDone","at":' + "[" * _LEVELS + "\n")),
    "a ledger that is not text": _replaced("ledger.jsonl", lambda path: path.write_bytes(os.urandom(10_000)) and None),
}
"""Damaged files of a run folder that must not keep ``status`` from reporting the progress of the run."""


def _run(folder: Path) -> list[str]:
    _store(folder / "movie.zarr")[:] = 100
    _bundle(folder / "model.lls")
    return ["run", str(folder / "movie.zarr"), "--out", str(folder / "out"), "--dry-run", "--config", str(folder / "x"),
            "--model", str(folder / "model.lls")]  # fmt: skip


def _with_bundle(folder: Path) -> list[str]:
    _store(folder / "movie.zarr")[:] = 100
    return ["run", str(folder / "movie.zarr"), "--out", str(folder / "out"), "--dry-run", "--model", str(folder / "x")]


def _with_dataset(folder: Path) -> list[str]:
    _bundle(folder / "model.lls")
    return ["run", str(folder / "x"), "--out", str(folder / "out"), "--dry-run", "--model", str(folder / "model.lls")]


def _import(folder: Path) -> list[str]:
    (folder / "x").rename(folder / "x.csv")
    return ["import", str(folder / "x.csv"), str(folder / "out.parquet")]


def _columns(folder: Path) -> list[str]:
    (folder / "t.csv").write_text("frame,x_nm,y_nm\n1,2,3\n")
    return ["import", str(folder / "t.csv"), str(folder / "out.parquet"), "--columns", str(folder / "x")]


def _batch(folder: Path) -> list[str]:
    (folder / "x").rename(folder / "x.yaml") if os.path.lexists(folder / "x") else None
    return ["batch", str(folder / "x.yaml"), "--model", "lls-paint", "--out", str(folder / "out")]


def _with_model(folder: Path) -> list[str]:
    _store(folder / "movie.zarr")[:] = 100
    return ["batch", str(folder / "*.zarr"), "--model", str(folder / "x"), "--out", str(folder / "out")]


def _table_beside(folder: Path) -> Path:
    _table(folder / "table.parquet")
    return folder / "table.parquet"


def _output(folder: Path) -> Path:
    """Return the output path that a case of ``OUTPUTS`` has written into the file ``x.path``, or ``x`` itself."""
    named = folder / "x.path"
    return Path(named.read_text()) if named.exists() else folder / "x"


def _run_into(folder: Path) -> list[str]:
    _store(folder / "movie.zarr")[:] = 100
    _bundle(folder / "model.lls")
    return ["run", str(folder / "movie.zarr"), "--out", str(_output(folder)), "--dry-run",
            "--model", str(folder / "model.lls")]  # fmt: skip


def _model(folder: Path) -> Path:
    _bundle(folder / "model.lls")
    return folder / "model.lls"


def _table_named(folder: Path) -> Path:
    (folder / "x").rename(folder / "x.parquet")
    return folder / "x.parquet"


_add_all("yaml", YAML, _run)
_add_all("columns", YAML, _columns)
_add_all("shown configurations", SHOWN, lambda folder: ["config", "show", str(folder / "x")])
_add_all("lists of datasets", NO_FILES, _batch)
_add_all(
    "model info",
    {name: BUNDLES[name] for name in ("truncated", "NaN in a weight", "infinity in a weight")},
    lambda folder: ["model", "info", str(folder / "x")],
)
_add_all(
    "models to fine-tune",
    {name: BUNDLES[name] for name in ("truncated", "500 filters", "20 000 filters")},
    lambda folder: ["train", "--config", "lls-paint", "--out", str(folder / "out"), "--init-from", str(folder / "x")],
)
_add_all("models of a batch", {name: BUNDLES[name] for name in ("truncated", "nesting in the record")}, _with_model)
_add_all(
    "filtered into",
    OUTPUTS,
    lambda folder: ["filter", str(_table_beside(folder)), str(_output(folder)), "--where", "x_nm > 1"],
)
_add_all("run into", RUN_OUTPUTS, _run_into)
_add_all("bundles", BUNDLES, _with_bundle)
_add_all("tables", TABLES, lambda folder: ["inspect", str(_table_named(folder))])
_add_all("filtered tables", TABLES, lambda folder: [
    "filter", str(_table_named(folder)), str(folder / "o.parquet"), "--where", "x_nm > 1"
])  # fmt: skip
_add_all("csv", CSV, _import)
_add_all("datasets", DATASETS, _with_dataset)
_add_all(
    "chunks",
    CHUNKS,
    lambda folder: [
        "preview",
        str(folder / "x"),
        "--model",
        str(_model(folder)),
        "--out",
        str(folder / "o.png"),
        "--volume",
        "4",
    ],
)
_add_all("bombs", {"every chunk a bomb": _bomb_store}, lambda folder: ["inspect", str(folder / "x")])
_add_all("unharmed runs", UNHARMED, lambda folder: ["status", str(folder / "x")])
_add_all("runs", RUNS, lambda folder: ["status", str(folder / "x")])
