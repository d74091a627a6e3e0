"""Every column of localizations and molecules is read by other programs with equal values, or reported as left out.

Tables below map our columns to the names of each program. A column in no table must be named by the export as left
out, or be listed in `NOT_SHOWN`, which means that the file has it but the program ignores it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lls_decode.export.exporting import FORMATS, Exported, export_table
from tests.export.conftest import MODEL, random_columns, random_molecules, write_molecules, write_table

from .conftest import Columns, Peer
from .tables import X_NM, Y_NM

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1500)]

NUM_ROWS = 800
SIZE = {"width": 260, "height": 280, "num_frames": 900}
COUNTS = ("last_frame", "num_frames", "num_planes", "num_volumes")


@dataclass(frozen=True)
class Names:
    """Names of our columns in another program; times a factor plus an offset its values are ours."""

    names: Mapping[str, str]
    """Maps our column name to that of the program."""
    factors: Mapping[str, float] = field(default_factory=dict)
    offsets: Mapping[str, float] = field(default_factory=dict)

    def ours(self, found: Columns) -> Columns:
        return {
            ours: found[theirs] * self.factors.get(ours, 1) + self.offsets.get(ours, 0)
            for ours, theirs in self.names.items()
            if theirs in found
        }


def same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


BY_OUR_NAME = same("frame", "prob", "prob_any", "plane", "volume", "channel", "num_planes", "num_volumes")
"""Columns that keep our names in programs that accept any column."""
SMAP_FIELDS = {**BY_OUR_NAME, "last_frame": "last_frame", "num_frames": "numberInGroup", "group": "groupindex"}
FROM_ONE = dict.fromkeys(("frame", "last_frame"), -1)
PICASSO = Names(
    {**BY_OUR_NAME, **same("photons", "bg", "group"),
     "x_nm": "x", "y_nm": "y", "z_nm": "z", "x_sig": "lpx", "y_sig": "lpy", "z_sig": "lpz", "phot_sig": "photons_unc",
     "num_frames": "n", "last_frame": "last_frame"},
    factors=dict.fromkeys(("x_nm", "y_nm", "x_sig", "y_sig"), X_NM),
)  # fmt: skip
LOCAN = {"frame": "frame", "x_nm": "position_x", "y_nm": "position_y", "z_nm": "position_z", "photons": "intensity",
         "bg": "local_background"}  # fmt: skip
PROGRAMS: dict[tuple[str, str], Names] = {
    ("picasso", "picasso"): PICASSO,
    ("locan", "smap"): Names(
        {**SMAP_FIELDS, **LOCAN, "x_sig": "uncertainty_x", "y_sig": "uncertainty_y", "z_sig": "uncertainty_z",
         "phot_sig": "photerr"},
        offsets={**FROM_ONE, "x_nm": -X_NM, "y_nm": -Y_NM},
    ),
    ("locan", "decode"): Names(
        {**LOCAN, **same("prob", "phot_sig", "z_sig"), "x_nm": "position_y", "y_nm": "position_x", "x_sig": "y_sig",
         "y_sig": "x_sig", "group": "original_index"}
    ),
    ("locan", "smlm"): Names(
        {**LOCAN, **same("prob", "volume", "channel", "prob_any", *COUNTS), "plane": "slice", "group": "cluster",
         "x_sig": "x_precision", "y_sig": "y_precision", "z_sig": "z_precision", "phot_sig": "intensity_precision"}
    ),
    ("locan", "thunderstorm"): Names(
        {**LOCAN, "z_sig": "uncertainty_z", "num_frames": "frames_number"},
        offsets={"frame": -1, "x_nm": -X_NM / 2, "y_nm": -Y_NM / 2},
    ),
    ("smappy", "smap"): Names(
        {**SMAP_FIELDS, **same("x_nm", "y_nm", "z_nm", "photons"), "bg": "background", "x_sig": "x_err_nm",
         "y_sig": "y_err_nm", "z_sig": "z_err_nm", "phot_sig": "photons_err"},
        offsets={"last_frame": -1, "x_nm": -X_NM, "y_nm": -Y_NM},
    ),
    ("smappy", "thunderstorm"): Names(
        {**same("frame", "x_nm", "y_nm", "z_nm", "photons"), "bg": "background", "z_sig": "z_err_nm",
         "num_frames": "detections"},
        offsets={"frame": -1, "x_nm": -X_NM / 2, "y_nm": -Y_NM / 2},
    ),
}  # fmt: skip
NOT_SHOWN = {("smappy", "thunderstorm"): {"num_frames"}}
"""Columns in the file that the program ignores; SMAPpy does not know the column ``detections`` of a csv."""
TABLES = [(kind, channels) for kind in ("localizations", "molecules") for channels in (1, 2)]


def a_table(path: Path, kind: str, num_channels: int) -> tuple[Path, Columns]:
    """Write a table without unknown values, all positions within the frame; return its path and columns."""
    columns = (random_columns if kind == "localizations" else random_molecules)(NUM_ROWS)
    columns |= {name: np.abs(columns[name]) for name in ("x_nm", "y_nm")}
    if kind == "localizations":
        columns["group"] = np.arange(NUM_ROWS) % 50
    if num_channels > 1:
        columns["channel"] = np.arange(NUM_ROWS) % num_channels
    write: Any = write_table if kind == "localizations" else write_molecules
    return write(path, columns, model=MODEL, **SIZE), columns


def read(peers: Mapping[str, Peer], program: str, made: Exported) -> tuple[Columns, dict[str, Any]]:
    if program == "picasso":
        found, about = peers[program].read("picasso_read", "hdf5", made.path, 0)
        if "len" in found:
            found["last_frame"] = found["frame"].astype(int) + found["len"] - 1
        return found, about
    kind = made.format if (program, made.format) != ("smappy", "thunderstorm") else "csv"
    return peers[program].read(f"{program}_read", kind, made.path)


@pytest.fixture(scope="module")
def peers(picasso: Peer, locan: Peer, smappy: Peer) -> dict[str, Peer]:
    return {"picasso": picasso, "locan": locan, "smappy": smappy}


@pytest.mark.parametrize(("kind", "channels"), TABLES)
@pytest.mark.parametrize(("program", "format"), PROGRAMS)
def test_every_column_is_equal_or_reported_as_left_out(
    peers: dict[str, Peer], program: str, format: str, kind: str, channels: int, tmp_path: Path
) -> None:
    table, columns = a_table(tmp_path / "table.parquet", kind, channels)
    made = export_table(table, tmp_path / f"out{FORMATS[format].suffix}", format=format)
    assert not made.notes
    theirs, _ = read(peers, program, made)
    found = PROGRAMS[program, format].ours(theirs)
    missing = set(columns) - set(found) - set(made.left_out)
    assert missing == NOT_SHOWN.get((program, format), set()) & set(columns)
    order, wanted = np.argsort(found["photons"]), np.argsort(columns["photons"])
    for name in set(columns) & set(found):
        values = columns[name][wanted].astype(float)
        np.testing.assert_allclose(found[name][order], values, rtol=0, atol=4e-7 * values.max(), err_msg=name)


@pytest.mark.parametrize(("kind", "channels"), TABLES)
def test_csv_columns_keep_our_names(peers: dict[str, Peer], kind: str, channels: int, tmp_path: Path) -> None:
    """Locan, and SMAPpy with a column mapping, read every column of a csv by our name."""
    table, columns = a_table(tmp_path / "table.parquet", kind, channels)
    made = export_table(table, tmp_path / "out.csv")
    assert not made.left_out
    for program, how in (("locan", "csv"), ("smappy", "csv-all")):
        found, _ = peers[program].read(f"{program}_read", how, made.path)
        assert set(columns) <= set(found), program
        for name, values in columns.items():
            np.testing.assert_allclose(found[name], values, rtol=0, atol=4e-7 * values.max(), err_msg=name)
