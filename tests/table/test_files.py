"""The function that writes files refuses to overwrite inputs of the command and files of other programs."""

import contextlib
import errno
import json
import os
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lls_decode.drawing import new_figure, save_png
from lls_decode.errors import ConfigError, OutputError
from lls_decode.outputs import command, in_place, note_read
from lls_decode.table import TableMetadata, read_table, schema, table_writer, written_aside
from lls_decode.table.files import folder_beside, output_error
from lls_decode.table.marks import PROGRAM, kind_of


def write_table(path: Path, kind: str = "localizations") -> None:
    canonical = schema(with_sample=False)
    with table_writer(path, canonical, TableMetadata().of_kind(kind)) as writer:
        writer.write(canonical.empty_table())


def write_text(path: Path, text: str = "mine") -> None:
    with written_aside(path) as aside:
        aside.write_text(text)


def write_picture(path: Path) -> None:
    with written_aside(path) as aside:
        save_png(new_figure("A test needs", 1, 1), aside)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.fixture
def read(tmp_path: Path) -> Path:
    path = tmp_path / "read.parquet"
    write_table(path)
    return path


def hard_link(read: Path) -> Path:
    os.link(read, read.with_name("hard.parquet"))
    return read.with_name("hard.parquet")


def soft_link(read: Path) -> Path:
    read.with_name("soft.parquet").symlink_to(read)
    return read.with_name("soft.parquet")


def by_linked_folder(read: Path) -> Path:
    read.with_name("folder").symlink_to(read.parent, target_is_directory=True)
    return read.with_name("folder") / read.name


def relative(read: Path) -> Path:
    return Path(os.path.relpath(read))


def with_dots(read: Path) -> Path:
    (read.parent / "sub").mkdir()
    return read.parent / "sub" / ".." / read.name


NAMES: dict[str, Callable[[Path], Path]] = {
    "itself": lambda read: read,
    "hard link": hard_link,
    "symbolic link": soft_link,
    "linked folder": by_linked_folder,
    "relative": relative,
    "dots": with_dots,
}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_a_command_cannot_overwrite_its_input_under_any_name(
    name: Callable[[Path], Path], force: bool, read: Path
) -> None:
    other = name(read)
    before = content(read.parent)
    with command(force=force):
        read_table(read)
        with pytest.raises(ConfigError, match="is read by this command"):
            write_table(other)
    assert content(read.parent) == before


def test_an_input_read_through_a_link_cannot_be_overwritten_by_its_own_name(read: Path) -> None:
    with command():
        read_table(soft_link(read))
        with pytest.raises(ConfigError, match="is read"):
            write_table(read)


def test_another_command_may_overwrite_an_earlier_input(read: Path) -> None:
    with command():
        read_table(read)
    with command():
        write_table(read)
    write_table(read)  # outside any command


def test_in_place_allows_a_command_to_overwrite_its_input(read: Path) -> None:
    with command():
        read_table(read)
        with in_place(read):
            write_table(read)
    assert read_table(read)[0].num_rows == 0


def test_files_inside_an_input_store_cannot_be_overwritten(tmp_path: Path) -> None:
    store = tmp_path / "cell.zarr"
    (store / "0").mkdir(parents=True)
    (store / "zarr.json").write_text("{}")
    (store / "0" / "c").write_text("chunk")
    with command(force=True):
        note_read(tmp_path)
        with pytest.raises(ConfigError, match="is read"):
            write_text(store / "0" / "c")
        write_text(tmp_path / "beside.txt")
    assert (store / "0" / "c").read_text() == "chunk"


def test_a_command_cannot_write_two_outputs_to_one_path(tmp_path: Path) -> None:
    with command():
        write_text(tmp_path / "a.txt")
        with pytest.raises(ConfigError, match="just been written"):
            write_text(tmp_path / "a.txt")
    with pytest.raises(ConfigError, match="two outputs"), command(outputs=[tmp_path / "b", tmp_path / "." / "b"]):
        pass


def foreign_parquet(path: Path) -> None:
    """Write a table as pandas writes one it has read: its attributes name lls-decode, but the file is the user's."""
    about = {b"PANDAS_ATTRS": json.dumps({"lls_decode": TableMetadata().to_dict()}).encode()}
    pq.write_table(pa.table({"frame": [1]}).replace_schema_metadata(about), path)


def foreign_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", '{"description": "by locan"}')


FOREIGN: dict[str, Callable[[Path], object]] = {
    "text.txt": lambda path: path.write_text("my notes on lls_decode"),
    "empty.csv": lambda path: path.write_text(""),
    "rows.csv": lambda path: path.write_text("frame,x_nm,y_nm\n1,2.50,3\n"),
    "header.csv": lambda path: path.write_text("frame,x_nm,y_nm\n"),
    "sheet.csv": lambda path: path.write_text("name;value\na;1\n"),
    "thunderstorm.csv": lambda path: path.write_text('"id","frame","x [nm]","y [nm]"\n1.0,1.0,5371.963425,21.5\n'),
    "config.yaml": lambda path: path.write_text("# for lls-decode run\npixel_size: {x_nm: 100, y_nm: 100}\n"),
    "picasso.yaml": lambda path: path.write_text("Generated by: lls_decode 0.1\n---\nGenerated by: Picasso Filter\n"),
    "record.json": lambda path: path.write_text('{"a": 1, "written_by": "lls_decode 0.1.0"}'),
    "page.html": lambda path: path.write_text("<!DOCTYPE html>\n<p>lls_decode</p>"),
    "picture.png": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"Software\0Fiji lls_decode"),
    "table.parquet": foreign_parquet,
    "damaged.parquet": lambda path: path.write_bytes(b"PAR1lls_decode"),
    "table.smlm": foreign_zip,
    "maps.npz": lambda path: np.savez(path, offset=np.zeros(3)),
    "map.npy": lambda path: np.save(path, np.zeros(3)),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_other_programs_are_overwritten_only_with_force(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    FOREIGN[name](path)
    before = content(tmp_path)
    assert kind_of(path) is None
    for force in (False, True):
        with command(force=force):
            if force:
                write_text(path, "new")
            else:
                with pytest.raises(OutputError, match=r"no mark of lls-decode.*--force"):
                    write_text(path)
                assert content(tmp_path) == before
    assert path.read_text() == "new"


def test_folders_and_devices_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    with command(force=True), pytest.raises(OutputError, match="is not a file"):
        write_text(tmp_path / "folder.png")
    with command(force=True), pytest.raises(OutputError, match="is not a file"):
        write_text(Path("/dev/null"))
    assert not Path("/dev/null").is_file()


def test_a_file_of_lls_decode_is_overwritten_only_by_the_same_kind(tmp_path: Path) -> None:
    table, molecules, picture = tmp_path / "a.parquet", tmp_path / "m.parquet", tmp_path / "p.png"
    write_table(table)
    write_table(molecules, "molecules")
    write_picture(picture)
    kinds = {path: kind_of(path) for path in (table, molecules, picture)}
    assert list(kinds.values()) == ["a table of localizations", "a table of molecules", "a picture (PNG)"]
    write_table(table)
    write_picture(picture)
    before = content(tmp_path)
    for path, write in ((table, write_picture), (picture, write_table), (molecules, write_table)):
        with pytest.raises(OutputError, match=r"the new file is of another kind"):
            write(path)
    assert content(tmp_path) == before
    with command(force=True):
        write_picture(table)
    assert kind_of(table) == "a picture (PNG)"


def test_text_files_of_lls_decode_are_recognized(tmp_path: Path) -> None:
    marked = {
        "a.yaml": (f"# Written by {PROGRAM}\na: 1\n", "a configuration"),
        "b.json": (json.dumps({"written_by": PROGRAM, "a": 1}, indent=1), "a record (JSON)"),
        "c.csv": ("frame,x_nm,y_nm\n1,2.5,3\n2,0.125,\n", "a csv"),
    }
    for name, (text, kind) in marked.items():
        (tmp_path / name).write_text(text)
        assert kind_of(tmp_path / name) == kind


class Accident(Exception):
    pass


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("frame,x_nm,y_nm\n1,2.5,3\n")
    before = content(tmp_path)

    def fail() -> None:
        with written_aside(path) as aside:
            aside.write_text("half")
            raise Accident

    with pytest.raises(Accident):
        fail()
    with pytest.raises(OutputError):
        write_text(path, "of another kind")
    assert content(tmp_path) == before


def test_files_in_a_run_folder_are_overwritten_without_a_mark(tmp_path: Path) -> None:
    (tmp_path / "localizations.parquet").write_bytes(b"damaged")
    with written_aside(tmp_path / "localizations.parquet", own_folder=True) as aside:
        aside.write_text("whole")
    assert (tmp_path / "localizations.parquet").read_text() == "whole"


def test_an_input_is_recognized_in_other_letter_case_where_case_is_ignored(read: Path) -> None:
    other = read.with_name("READ.parquet")
    if not other.exists():
        pytest.skip("this file system is case-sensitive")
    with command():
        read_table(read)
        with pytest.raises(ConfigError, match="is read"):
            write_table(other)


def test_a_temporary_folder_is_removed_although_threads_still_write_after_an_error(tmp_path: Path) -> None:
    def write_late(folder: Path) -> None:
        time.sleep(0.2)
        (folder / "c").mkdir(parents=True)
        with contextlib.suppress(FileNotFoundError):  # the folder may be removed again at this moment
            (folder / "c" / "0").touch()

    def fail(folder: Path) -> None:
        threads.append(threading.Thread(target=write_late, args=(folder,)))
        threads[0].start()
        raise ValueError("full")

    threads: list[threading.Thread] = []
    with pytest.raises(ValueError, match="full"), folder_beside(tmp_path / "a.tif") as folder:
        fail(folder)
    threads[0].join()
    assert list(tmp_path.iterdir()) == []


def test_a_file_whose_writer_cannot_be_read_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """h5py is optional, and reads the mark in HDF5 files."""
    (tmp_path / "a.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(OutputError, match="has no mark of lls-decode"):
        write_text(tmp_path / "a.hdf5")


def test_reasons_why_a_file_cannot_be_written() -> None:
    """NumPy raises an error without a number when a disk is full; names that are too long are refused by the system."""
    reasons = {
        "the disk is full": OSError("9216 requested and 992 written"),
        "the name is too long": OSError(errno.ENAMETOOLONG, "File name too long"),
        "links that point at each other": OSError(errno.ELOOP, "Too many levels of symbolic links"),
    }
    assert {words: words in str(output_error(Path("x"), error)) for words, error in reasons.items()} == dict.fromkeys(
        reasons, True
    )
