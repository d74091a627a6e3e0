"""Read the datasets of a batch from a pattern over an archive, a ``.csv`` table, or a ``.yaml`` list with defaults.

The run folder of a dataset is named after the dataset's path in the archive. People can therefore find the folder, and
the dataset keeps it when further datasets are added to the archive.
"""

import csv
import difflib
import io
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PureWindowsPath
from typing import Any, TypeVar

from pydantic import Field, field_validator

from lls_decode.addresses import Address, is_address, parse_address, refuse_remote_output, resolve_dataset
from lls_decode.config import Config, RunConfig, change, load, parse
from lls_decode.documents import DocumentError, parse_yaml, read_text
from lls_decode.errors import ConfigError, InputError
from lls_decode.frames.storage.stores import find_stores
from lls_decode.models import as_run_config, find_bundle
from lls_decode.system import IGNORES_CASE, portable_name, real_path

N = TypeVar("N")
_WILDCARDS = re.compile(r"[*?\[]")
_SUFFIXES = (".ome.zarr", ".zarr")
_STORE_FILES = frozenset({"zarr.json", ".zgroup", ".zarray", ".zattrs"})
_COLUMNS = ("dataset", "model", "config", "out")


@dataclass(frozen=True)
class BatchEntry:
    """One dataset of a batch, with everything that its run needs."""

    dataset: str
    """Path, glob or address, as given to ``lls-decode run``."""
    name: str
    """Path of the run folder, relative to the folder of the batch."""
    out: Path
    """Run folder."""
    model: Path
    config: RunConfig

    def matches(self, pattern: str) -> bool:
        """Whether the path of the dataset, or the name of its run folder, matches a pattern with ``*`` and ``?``."""
        return fnmatchcase(self.dataset, pattern) or fnmatchcase(self.name, pattern)


class BatchSettings(Config):
    """Model and configuration of the runs."""

    model: str | None = None
    """Model bundle (``.lls``), or the name of a shipped model."""
    config: str | RunConfig | None = None
    """Run configuration, or the path of a YAML file that contains it."""
    changes: dict[str, Any] = Field(default_factory=dict)
    """Single values that replace those of the configuration, by dotted keys."""


class EntrySettings(BatchSettings):
    """A dataset, with the settings in which it differs from the others."""

    dataset: str
    """Path or address of the dataset."""
    out: str | None = None
    """Name of its run folder; None: derived from the path of the dataset."""

    @field_validator("out")
    @classmethod
    def _inside_the_batch(cls, out: str | None) -> str | None:
        if out is not None:
            parts = out.replace("\\", "/").split("/")
            if PureWindowsPath(out).anchor or {"", ".", ".."} & set(parts) or not out.isprintable():
                raise ValueError(
                    "expected a name, or names separated by '/', inside the folder of the batch, without '..'"
                )
        return out


def _or_path(schema: dict[str, Any]) -> None:
    """Let the JSON schema allow a path in place of an entry, as `BatchFile` does."""
    schema["items"] = {"anyOf": [{"type": "string"}, schema["items"]]}


class BatchFile(Config):
    """A list of datasets with defaults. Paths in it are relative to the folder of the file."""

    defaults: BatchSettings = BatchSettings()
    datasets: tuple[EntrySettings, ...] = Field(min_length=1, json_schema_extra=_or_path)
    """Datasets, each as a path or as an entry with its own settings."""

    @field_validator("datasets", mode="before")
    @classmethod
    def _paths_alone(cls, value: Any) -> Any:
        return [{"dataset": item} if isinstance(item, str) else item for item in value or ()]


def read_datasets(source: str | Path, out: Path, *, settings: BatchSettings) -> tuple[BatchEntry, ...]:
    """Return the datasets that a pattern, a ``.csv`` or a ``.yaml`` names.

    The datasets of a pattern are sorted; those of a file keep its order.

    Parameters
    ----------
    out
        Folder of the batch.
    settings
        Settings for all datasets. They override the defaults of a file; the settings of a single dataset override both.

    Raises
    ------
    ConfigError, BundleError
        The file is invalid, a configuration or model cannot be read, or two datasets would share a run folder.
    InputError
        The pattern matches nothing.
    OutputError
        ``out`` is the address of remote storage.
    """
    refuse_remote_output(out)
    source = resolve_dataset(source)
    kind = Path(source).suffix.lower()
    if is_address(source) and kind in (".yaml", ".yml", ".csv"):
        raise ConfigError(
            f"{source} is a list at an address; copy the list to a local file (its datasets may stay remote)."
        )
    if kind not in (".yaml", ".yml", ".csv"):
        paths, root = _find(source, settings)
        return _resolve([EntrySettings(dataset=path) for path in paths], out, settings, root)
    folder = real_path(source).parent
    job = _read_sheet(Path(source)) if kind == ".csv" else load(BatchFile, source)
    shared = BatchSettings(
        model=settings.model or _beside(folder, job.defaults.model),
        config=settings.config or _beside(folder, job.defaults.config),
        changes={**job.defaults.changes, **settings.changes},
    )
    entries = [
        entry.replace(
            dataset=resolve_dataset(entry.dataset) if is_address(entry.dataset) else str(folder / entry.dataset),
            model=_beside(folder, entry.model),
            config=_beside(folder, entry.config),
        )
        for entry in job.datasets
    ]
    return _resolve(entries, out, shared, folder)


def _resolve(
    entries: Sequence[EntrySettings], out: Path, shared: BatchSettings, root: Path | Address
) -> tuple[BatchEntry, ...]:
    read = cache(as_run_config)  # many datasets may name the same file
    names = _name_folders(entries, root)
    found = []
    for entry, name in zip(entries, names, strict=True):
        model, given = entry.model or shared.model, entry.config or shared.config
        if model is None:
            raise ConfigError(f"{entry.dataset} has no model; give one for it, or --model for all.")
        config = change(
            given if isinstance(given, RunConfig) else read(given),
            {**shared.changes, **entry.changes},
            source=entry.dataset,
        )
        found.append(BatchEntry(entry.dataset, name, out / name, find_bundle(model), config))
    return tuple(found)


def _name_folders(entries: Sequence[EntrySettings], root: Path | Address) -> list[str]:
    """Return unique names of run folders, none inside another, without the suffix of the store where possible."""
    full = [entry.out or _WILDCARDS.sub("_", _relative(entry.dataset, root)) for entry in entries]
    short = [name if entry.out else _without_suffix(name) for entry, name in zip(entries, full, strict=True)]
    taken = Counter(short)
    above = {parent.as_posix() for name in short for parent in Path(name).parents}
    names = [
        one if taken[one] == 1 and one not in above else other.replace(".zarr", "_zarr")
        for one, other in zip(short, full, strict=True)
    ]
    above = {_as_on_disk(parent.as_posix()) for name in names for parent in Path(name).parents}
    taken = Counter(map(_as_on_disk, names))
    for name in names:
        if taken[_as_on_disk(name)] > 1 or _as_on_disk(name) in above:
            same = [_as_on_disk(other) == _as_on_disk(name) for other in names]
            whose = [entry.dataset for entry, is_same in zip(entries, same, strict=True) if is_same]
            raise ConfigError(
                f"Run folder {name} ({', '.join(whose[:2])}) would be used by two datasets, or would contain the run "
                "folder of another one; give each dataset its own with 'out'."
            )
    return names


def _as_on_disk(name: str) -> str:
    """Return a name folded to one case where the file system ignores case."""
    return name.casefold() if IGNORES_CASE else name


def _relative(dataset: str, root: Path | Address) -> str:
    """Return the path of a dataset within the archive.

    A dataset outside of the archive gives its whole path, which starts with the bucket or host if it is remote.
    """
    if is_address(dataset):
        address = parse_address(dataset)
        name = f"{address.host}/{address.path}"
        if isinstance(root, Address) and root.root == address.root:
            name = address.path.removeprefix(f"{root.path}/")
        return "/".join(portable_name(part) for part in re.sub(r"[^\w./+ -]", "_", name).split("/"))
    assert isinstance(root, Path)
    path = Path(os.path.abspath(dataset))
    return (path.relative_to(root) if path.is_relative_to(root) else path.relative_to(path.anchor)).as_posix()


def _without_suffix(name: str) -> str:
    return next((name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix)), name)


def _beside(folder: Path, name: N) -> N | str:
    """Return a path relative to a folder if it exists there; a name that may be that of a shipped file is unchanged."""
    return str(folder / name) if isinstance(name, str) and (folder / name).exists() else name


def _read_sheet(path: Path) -> BatchFile:
    """Read a ``.csv`` table of datasets. Empty cells are ignored; the cells of dotted columns are YAML values."""
    entries = []
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
        _check_columns(path, reader.fieldnames or ())
        for row in reader:
            cells = {key: text.strip() for key, text in row.items() if isinstance(text, str) and text.strip()}
            if None in row or (cells and "dataset" not in cells):
                raise ConfigError(
                    f"{path}, line {reader.line_num}: expected a dataset, and at most as many cells as columns."
                )
            if cells:
                own = {key: cells.pop(key) for key in _COLUMNS if key in cells}
                entries.append({**own, "changes": {key: parse_yaml(text) for key, text in cells.items()}})
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); give the path of a .csv table.") from error
    except (csv.Error, DocumentError) as error:
        raise ConfigError(f"{path} is not a table of datasets ({' '.join(str(error).split())}).") from error
    return parse(BatchFile, {"datasets": entries}, source=str(path))


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    if "dataset" not in columns:
        raise ConfigError(f"{path} has columns {', '.join(columns) or '(none)'}; expected one named 'dataset'.")
    for column in columns:
        if column not in _COLUMNS and "." not in column:
            close = difflib.get_close_matches(column, _COLUMNS, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ConfigError(
                f"{path} has a column {column!r}{hint}; expected {', '.join(_COLUMNS)}, or keys of the configuration, "
                "for example detection.accept."
            )


def _find(pattern: str, settings: BatchSettings) -> tuple[list[str], Path | Address]:
    """Return the sorted paths that match a pattern, and the folder before its first wildcard."""
    if is_address(pattern):
        return _find_remote(pattern, settings)
    parts = Path(os.path.abspath(pattern)).parts
    fixed = next((i for i, part in enumerate(parts) if _WILDCARDS.search(part)), len(parts) - 1)
    root = Path(*parts[:fixed])
    found = sorted(set(_walk(root, parts[fixed:])))
    if not found:
        raise InputError(
            f"{pattern} matches no dataset; give a pattern in quotes, for example 'archive/**/*.zarr', a .yaml, or a "
            ".csv."
        )
    return found, root


def _find_remote(pattern: str, settings: BatchSettings) -> tuple[list[str], Address]:
    """Return the addresses that match a pattern, and the folder before its first wildcard."""
    storage = change(as_run_config(settings.config), settings.changes, source="--set").input.storage
    address = parse_address(pattern)
    if not _WILDCARDS.search(address.path):
        return [pattern], Address(address.scheme, address.host, address.path.rpartition("/")[0])
    found = find_stores(pattern, storage)
    if not found:
        raise InputError(
            f"{pattern} matches no dataset; give a pattern in quotes, for example 's3://BUCKET/archive/**/*.zarr'."
        )
    fixed = itertools.takewhile(lambda part: not _WILDCARDS.search(part), address.path.split("/"))
    return found, Address(address.scheme, address.host, "/".join(fixed))


def _walk(folder: Path, parts: Sequence[str], *, deep: bool = False) -> Iterator[str]:
    """Yield the paths below a folder that match the parts of a pattern.

    Stores are not searched, because they may contain millions of files.
    """
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from _walk(folder, rest or ("*",), deep=True)
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return  # not a folder, or not readable
    if any(entry.name in _STORE_FILES for entry in entries):
        return
    for entry in entries:
        hidden = entry.name.startswith(".")
        fits = fnmatchcase(entry.name, part) and (not hidden or part.startswith("."))
        if fits and not rest:
            yield entry.path
        elif fits:
            yield from _walk(Path(entry.path), rest)
        if deep and not hidden and entry.is_dir(follow_symlinks=False) and not entry.name.endswith(".zarr"):
            yield from _walk(Path(entry.path), parts, deep=True)
