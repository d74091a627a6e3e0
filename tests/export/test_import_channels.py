"""Import keeps or selects channels and source files of other programs' tables, and never merges them silently."""

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from lls_decode.config import PixelSize
from lls_decode.errors import TableError
from lls_decode.export.importing import import_table
from lls_decode.pipelines.cli import main
from lls_decode.table import read_table

PIXEL = PixelSize(x_nm=100.0, y_nm=100.0)
NUM_ROWS = 2000


def two_colours(values: list[Any], *, seed: int = 5) -> pd.DataFrame:
    """Return rows of several channels, which x identifies."""
    random = np.random.default_rng(seed)
    which = random.integers(0, len(values), NUM_ROWS)
    columns = {
        "frame": np.sort(random.integers(0, 200, NUM_ROWS)),
        "x_nm": 1000.0 * which + random.uniform(0, 900, NUM_ROWS).round(1),
        "y_nm": random.uniform(0, 900, NUM_ROWS).round(1),
    }
    return pd.DataFrame(columns).assign(colour=[values[number] for number in which])


NAMES = ["Channel", "channel", "Channel Index", "colour", "Color", "Wavelength [nm]", "Probe", "Dye"]
VALUES: dict[str, tuple[list[Any], list[int], list[str]]] = {
    # values in the file, our channel numbers, and the recorded channel names
    "numbers": ([0, 1], [0, 1], []),
    "numbers from 1": ([1, 2, 3], [1, 2, 3], []),
    "wavelengths": ([647, 488, 561], [2, 0, 1], ["488", "561", "647"]),
    "names": (["Cy5", "A488"], [1, 0], ["A488", "Cy5"]),
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_column_of_channels_is_imported(name: str, kind: str, suffix: str, tmp_path: Path) -> None:
    values, numbers, names = VALUES[kind]
    table, path = two_colours(values).rename(columns={"colour": name}), tmp_path / f"rows.{suffix}"
    table.to_csv(path, index=False) if suffix == "csv" else table.to_parquet(path)
    rows, about = read_table(import_table(path, tmp_path / "out.parquet", rows_at_once=300))
    which = np.asarray(rows["x_nm"].to_numpy() // 1000, dtype=int)
    np.testing.assert_array_equal(rows["channel"].to_numpy(), np.array(numbers)[which])
    assert [channel.name for channel in about.channels] == names
    assert about.input["columns"]["channel"] == name
    for value in values:
        out = import_table(path, tmp_path / "one.parquet", channel=value)
        one, about = read_table(out)
        assert "channel" not in one.column_names
        assert {int(x) for x in one["x_nm"].to_numpy() // 1000} == {values.index(value)}
        assert [channel.name for channel in about.channels] == [about.input["channel"]] == [str(value)]


def test_the_import_command_keeps_selects_and_merges_channels(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The table has two channels and the format of the Nanoimager's program."""
    random, path, out = np.random.default_rng(5), tmp_path / "rows.csv", tmp_path / "out.parquet"
    x, channel = random.uniform(0, 20_000, NUM_ROWS), random.integers(0, 2, NUM_ROWS)
    pd.DataFrame(
        {"Channel": channel, "Frame": np.sort(random.integers(0, 200, NUM_ROWS)), "X (nm)": x, "Y (nm)": x,
         "Z (nm)": 0.0, "X precision (nm)": 12.0, "Y precision (nm)": 11.0, "Photons": 900.0,
         "Background": 12.0, "p-value": 0.5}
    ).to_csv(path, index=False)  # fmt: skip

    def call(*words: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main(["import", str(path), str(out), "--pixel-nm", "100", *(str(word) for word in words)])
        return int(end.value.code or 0), "".join(capfd.readouterr())

    code, words = call()
    assert code == 0
    assert "left out: p-value" in words
    assert "channel = Channel" in words
    rows = read_table(out)[0]
    order = np.argsort(rows["x_nm"].to_numpy())
    np.testing.assert_array_equal(rows["channel"].to_numpy()[order], channel[np.argsort(x)])
    assert rows["y_sig"].to_pylist()[0] == 11
    assert call("--channel", 1)[0] == 0
    assert len(read_table(out)[0]) == np.count_nonzero(channel == 1)
    code, words = call("--channel", 2)
    assert (code, "no row whose Channel is '2' (--channel); there are '0', '1'" in words) == (3, True)
    code, words = call("--columns", "channel=")
    assert (code, "left out: Channel, p-value" in words) == (0, True)  # merged, because the user asked for it
    assert "channel" not in read_table(out)[0].column_names


def test_rows_without_a_channel_are_a_channel_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("frame,x_nm,y_nm,channel\n0,1,2,red\n1,3,4,\n2,3,4,nan\n3,5,6,blue\n")
    rows, about = read_table(import_table(path, tmp_path / "out.parquet"))
    assert rows["channel"].to_pylist() == [1, 2, 2, 0]
    assert [channel.name for channel in about.channels] == ["blue", "red", "none"]
    assert any("2 (none)" in note for note in about.input["notes"])


def test_selecting_a_channel_of_a_table_without_channels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("frame,x_nm,y_nm\n0,1,2\n")
    with pytest.raises(TableError, match="no column that states the channel of each row"):
        import_table(path, tmp_path / "out.parquet", channel=1)


def test_a_column_with_too_many_values_is_no_channel(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    table = two_colours([0])
    table.assign(colour=np.arange(NUM_ROWS) / 7).to_csv(path, index=False)
    with pytest.raises(TableError, match=r"more than 256 values in column 'colour'.*--columns 'channel='"):
        import_table(path, tmp_path / "out.parquet")
    assert import_table(path, tmp_path / "out.parquet", columns="channel=").exists()


@pytest.mark.parametrize("name", ["filenumber", "File name", "dataset", "movie", "FOV"])
@pytest.mark.parametrize("values", [[1, 2], ["a.tif", "b.tif"]], ids=["numbers", "names"])
def test_rows_of_several_files_must_be_selected_or_merged(name: str, values: list[Any], tmp_path: Path) -> None:
    path, out = tmp_path / "rows.csv", tmp_path / "out.parquet"
    two_colours(values).rename(columns={"colour": name}).to_csv(path, index=False)
    with pytest.raises(TableError, match=rf"rows of 2 files \('{values[0]}', '{values[1]}' in column '{name}'.*--file"):
        import_table(path, out)
    assert not out.exists()
    for number, value in enumerate(values):
        rows, about = read_table(import_table(path, out, file=value))
        assert {int(x) for x in rows["x_nm"].to_numpy() // 1000} == {number}
        assert about.input["file"] == str(value)
    assert len(read_table(import_table(path, out, columns="file="))[0]) == NUM_ROWS
    two_colours(values[:1]).rename(columns={"colour": name}).to_csv(path, index=False)
    assert read_table(import_table(path, out))[1].input["file"] == str(values[0])


def test_files_and_channels_of_smap_are_recognized(tmp_path: Path) -> None:
    """Channel 0 and filenumber 1 in all rows are SMAP's defaults and are ignored."""

    def written(channel: Any, filenumber: Any) -> Path:
        path = tmp_path / "rows_sml.mat"
        with h5py.File(path, "w") as file:
            for name, values in {
                "frame": 1.0,
                "xnm": 150.0,
                "ynm": 240.0,
                "channel": channel,
                "filenumber": filenumber,
            }.items():
                file[f"saveloc/loc/{name}"] = np.broadcast_to(values, 4).reshape(1, 4)
        return path

    def read(path: Path, **options: Any) -> Any:
        return read_table(import_table(path, tmp_path / "out.parquet", pixel_size=PIXEL, **options))[0]

    assert "channel" not in read(written(0, 1)).column_names
    assert read(written([0, 1, 1, 2], 1))["channel"].to_pylist() == [0, 1, 1, 2]
    path = written(0, [1, 1, 1, 2])
    with pytest.raises(TableError, match="rows of 2 files"):
        read(path)
    assert len(read(path, file=1)) == 3


def test_tables_of_an_smlm_archive_are_channels_or_files(tmp_path: Path) -> None:
    rows = np.array([(3, 150.0, 240.0)], dtype=[("frame", "<u2"), ("x", "<f4"), ("y", "<f4")])

    def written(*channels: str) -> Path:
        path, kind = tmp_path / "rows.smlm", {"type": "table", "mode": "binary", "headers": ["frame", "x", "y"]}
        kind |= {"units": ["frame", "nm", "nm"], "shape": [1] * 3, "dtype": ["uint16", "float32", "float32"]}
        entries = [
            {"name": f"t{number}.bin", "type": "table", "format": "f", "rows": 1, "channel": channel,
             "offset": {"x": 10.0 * number}}
            for number, channel in enumerate(channels)
        ]  # fmt: skip
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("manifest.json", json.dumps({"formats": {"f": kind}, "files": entries}))
            for entry in entries:
                archive.writestr(entry["name"], rows.tobytes())
        return path

    table, about = read_table(import_table(written("red", "green"), tmp_path / "out.parquet"))
    found = dict(zip(table["x_nm"].to_pylist(), table["channel"].to_pylist(), strict=True))
    assert (found, [channel.name for channel in about.channels]) == ({150: 1, 160: 0}, ["green", "red"])
    path = written("default", "default")
    with pytest.raises(TableError, match="rows of 2 files"):
        import_table(path, tmp_path / "out.parquet")
    assert read_table(import_table(path, tmp_path / "out.parquet", file="t1.bin"))[0]["x_nm"].to_pylist() == [160]
