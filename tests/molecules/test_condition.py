"""Conditions given as text: selected rows and refused texts."""

import numpy as np
import pytest
from pyarrow import Table

from lls_decode.errors import ConfigError
from lls_decode.molecules import parse_condition
from lls_decode.molecules.selection import filtered

from .conftest import make_rows

NUM = 200


@pytest.fixture(scope="module")
def rows() -> Table:
    random = np.random.default_rng(0)
    measured = {name: random.uniform(-100, 100, NUM) for name in ("x_nm", "y_nm", "z_nm")}
    z = measured["z_nm"]
    z[:5] = np.nan
    z[5] = np.inf
    return make_rows({
        "frame": np.arange(NUM), **measured, "x_sig": random.uniform(5, 60, NUM), "prob": np.tile([0.9, 0.5], NUM // 2),
    })  # fmt: skip


SELECTED = {
    "x_sig < 30": lambda r: r["x_sig"] < 30,
    "x_sig < 30 and prob > 0.8 and 0 <= z_nm < 50": lambda r: (
        (r["x_sig"] < 30) & (r["prob"] > 0.8) & (r["z_nm"] >= 0) & (r["z_nm"] < 50)
    ),
    "not (x_nm > 0 or y_nm > 0)": lambda r: ~((r["x_nm"] > 0) | (r["y_nm"] > 0)),
    "prob == 0.9": lambda r: r["prob"] > 0.8,  # compared as float32, like the column
    "0.9 <= prob": lambda r: r["prob"] > 0.8,
    "prob != 0.9": lambda r: r["prob"] < 0.8,
    "frame - 100 >= -1": lambda r: r["frame"] >= 99,  # unsigned: must not wrap
    "-1 < group": lambda r: np.zeros(NUM, bool),
    "group == -1": lambda r: np.ones(NUM, bool),
    "frame <= 1e30": lambda r: np.ones(NUM, bool),
    "frame < 123456789012345678901234567890": lambda r: np.ones(NUM, bool),
    "frame > 10.5": lambda r: r["frame"] > 10,
    "sqrt(x_nm**2 + y_nm**2) < 50": lambda r: np.hypot(r["x_nm"], r["y_nm"]) < 50,
    "abs(x_nm) / x_sig > 2 * 1.5": lambda r: np.abs(r["x_nm"]) / r["x_sig"] > 3,
    "isfinite(z_nm)": lambda r: np.isfinite(r["z_nm"]),
    "z_nm > -1000": lambda r: r["z_nm"] > -1000,  # NaN is not selected
    "frame=17": lambda r: r["frame"] == 17,
    "frame = 17 or group=-1 and plane == 0": lambda r: np.ones(NUM, bool),
    "x_nm < y_nm": lambda r: r["x_nm"] < r["y_nm"],
    "x_nm / 0 > 0": lambda r: r["x_nm"] > 0,
}


@pytest.mark.parametrize("text", SELECTED)
def test_conditions_select_the_same_rows_as_numpy(rows: Table, text: str) -> None:
    values = {name: rows[name].to_numpy() for name in rows.column_names}
    with np.errstate(all="ignore"):
        expected = SELECTED[text](values)
    found = filtered(rows, parse_condition(text, rows.schema).expression)
    assert found["frame"].to_pylist() == values["frame"][expected].tolist()
    assert found.schema.equals(rows.schema)


def test_a_condition_lists_its_columns(rows: Table) -> None:
    assert parse_condition("x_sig < 30 and x_nm + y_nm > 0", rows.schema).columns == {"x_sig", "x_nm", "y_nm"}


REFUSED = {
    "x_sg < 30": "'x_sg', which is not a column .did you mean 'x_sig'",
    "nothing_like_it < 30": "'nothing_like_it', which is not a column; the columns are frame, ",
    "": "cannot be read",
    "x_sig <": "cannot be read",
    "x_sig": "'x_sig' is not a condition",
    "1": "'1' is not a condition",
    "True": "'True' is not a condition",
    "x_sig and prob > 0.8": "'x_sig' is not a condition",
    "x_sig < True": "'True' is neither a number",
    "x_sig < -True": "'True' is neither a number",
    "x_sig < 'a'": "'a'.* is neither a number",
    "(x_sig < 3) < 4": "'x_sig < 3' is neither a number",
    "x_sig in (1, 2)": "is not a comparison",
    "x_sig is 3": "is not a comparison",
    "x_sig // 2 < 3": "is neither a number",
    "__import__('os').system('true')": "is not a condition",
    "exec('1') < 3": "is neither a number",
    "abs(x_sig, 3) < 3": "is neither a number",
    "x_sig.real < 3": "is neither a number",
    "[f for f in (1,)][0] < 3": "is neither a number",
    "(x := 3) < 4": "is neither a number",
    "x_sig < 1j": "is neither a number",
    "x_sig = 3": "cannot be read",
    "frame = 3.5": "cannot be read",
    "frame = x_sig": "cannot be read",
    "x_sig < 3; frame > 2": "cannot be read",
    "x_sig < 3\nframe": "cannot be read",
}


@pytest.mark.parametrize("text", REFUSED)
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_invalid_conditions_are_refused(rows: Table, text: str) -> None:
    with pytest.raises(ConfigError, match=REFUSED[text]):
        parse_condition(text, rows.schema)


def test_endless_nesting_is_refused(rows: Table) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        parse_condition("(" * 5000 + "x_sig" + ")" * 5000 + " < 3", rows.schema)


def test_long_conditions_are_refused_because_they_crash_arrow(rows: Table) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read \(it has 220005 characters, expected at most 10000\)"):
        parse_condition("x<1" + " and x_sig<1" * 18333 + "      ", rows.schema)


def test_numbers_that_are_no_floats_exceed_every_value(rows: Table) -> None:
    huge = "0x" + "f" * 400
    for text, num in ((f"x_sig < {huge}", NUM), (f"x_sig + 0 < -{huge}", 0), (f"frame > {huge}", 0)):
        assert filtered(rows, parse_condition(text, rows.schema).expression).num_rows == num
