"""Output of `lls-decode evaluate` and `frc` for tables and truths with typical mistakes."""

import json
import math
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lls_decode.config import GaussianPsf, PixelSize
from lls_decode.emitters import Emitters
from lls_decode.table import read_metadata
from tests.pipelines.conftest import Invoke
from tests.pipelines.flows.test_evaluation import write_table

PIXEL = PixelSize(x_nm=100.0, y_nm=100.0)
FRAMES, PLANES = 120, 4
NAMES = ("frame", "x_nm", "y_nm", "z_nm", "photons")


def emitters(*, with_z: bool = True, num: int = 900) -> tuple[Emitters, Emitters]:
    """Return a truth and typical localizations of it; the first and last five frames are empty."""
    random = np.random.default_rng(5)
    truth = Emitters.from_columns(
        {
            "frame": np.sort(random.integers(5, FRAMES - 5, num)),
            "x_nm": random.uniform(500, 12_000, num),
            "y_nm": random.uniform(500, 9000, num),
            "z_nm": random.uniform(-400, 400, num) if with_z else np.full(num, np.nan),
            "photons": random.uniform(800, 3000, num),
        }
    )
    hit = truth.select(random.random(num) < 0.9)
    found = replace(
        hit, **{f"{axis}_nm": getattr(hit, f"{axis}_nm") + random.normal(0, 15, len(hit)) for axis in "xyz"}
    )
    return truth, found


def save_truth(path: Path, truth: Emitters) -> Path:
    names = [name for name in NAMES if np.isfinite(getattr(truth, name)).any()]
    if path.suffix == ".csv":
        rows = np.column_stack([getattr(truth, name) for name in names])
        np.savetxt(path, rows, fmt="%.3f", delimiter=",", header=",".join(names), comments="")
    else:
        pq.write_table(pa.table({name: getattr(truth, name) for name in names}), path)
    return path


def save_found(path: Path, found: Emitters, **metadata: Any) -> Path:
    columns = {name: np.nan_to_num(getattr(found, name)) for name in NAMES}
    columns |= {f"{axis}_sig": np.full(len(found), 15.0) for axis in "xyz"}
    planes = {"pixel_size": PIXEL, "planes_per_volume": PLANES, "frames": ((0, FRAMES),)}
    return write_table(path, columns, **{**planes, **metadata})


def evaluated(invoke: Invoke, *words: object) -> dict[str, Any]:
    status, text, err = invoke("evaluate", *words, "--json")
    assert status == 0, err
    return dict(json.loads(text))


MISTAKES = {
    "frames": lambda t: replace(t, frame=t.frame + 1),
    "axes exchanged": lambda t: replace(t, x_nm=t.y_nm, y_nm=t.x_nm),
    "x mirrored": lambda t: replace(t, x_nm=12_700 - t.x_nm),
    "place": lambda t: replace(t, x_nm=t.x_nm + 50, y_nm=t.y_nm + 50),
    "scale": lambda t: replace(t, x_nm=t.x_nm * 1.3, y_nm=t.y_nm * 1.3),
    "z offset": lambda t: replace(t, z_nm=t.z_nm - 200),
    "z mirrored": lambda t: replace(t, z_nm=-t.z_nm),
    "z scale": lambda t: replace(t, z_nm=t.z_nm / 1000),
    "missing z": lambda t: replace(t, z_nm=0 * t.z_nm),
    "photons": lambda t: replace(t, photons=t.photons * 2.5),
    "planes": lambda t: replace(t, frame=t.frame // PLANES * PLANES + PLANES - 1 - t.frame % PLANES),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_advised_options_correct_the_mistake(tmp_path: Path, invoke: Invoke, mistake: str) -> None:
    truth, found = emitters()
    table = save_found(tmp_path / "found.parquet", found)
    good = evaluated(invoke, table, save_truth(tmp_path / "truth.parquet", truth))
    assert good["diagnosis"]["causes"] == []
    wrong = save_truth(tmp_path / "wrong.parquet", MISTAKES[mistake](truth))
    bad = evaluated(invoke, table, wrong, "--report", tmp_path / "report.png")
    (cause,) = bad["diagnosis"]["causes"]
    assert cause["cause"] == mistake
    # the correction is not applied: the scores belong to the uncorrected truth
    assert bad["jaccard"] == pytest.approx(cause["before"]["jaccard"], abs=0.02)
    again = evaluated(invoke, table, wrong, *shlex.split(bad["diagnosis"]["options"]))
    assert again["diagnosis"]["causes"] == []
    assert again["jaccard"] == pytest.approx(good["jaccard"], abs=0.005)
    assert again["jaccard"] == pytest.approx(cause["after"]["jaccard"], abs=0.02)
    _, text, _ = invoke("evaluate", table, wrong)
    assert f"Use {cause['options']}" in text
    assert "None of these corrections is applied" in text
    assert "Likely cause" not in invoke("evaluate", table, wrong, "--no-diagnosis")[1]


def test_frames_of_a_thunderstorm_truth_can_start_at_0(tmp_path: Path, invoke: Invoke) -> None:
    """A ThunderSTORM header implies that frames start at 1; ``--truth-first-frame 0`` is needed if they start at 0."""
    truth, found = emitters()
    table, csv = save_found(tmp_path / "found.parquet", found), tmp_path / "truth.csv"
    rows = np.column_stack(
        [truth.frame - truth.frame.min(), truth.x_nm + 50, truth.y_nm + 50, truth.z_nm, truth.photons]
    )
    head = '"frame","x [nm]","y [nm]","z [nm]","intensity [photon]"'
    np.savetxt(csv, rows, fmt="%.3f", delimiter=",", header=head, comments="")
    status, _, err = invoke("evaluate", table, csv)
    assert status == 3
    assert "--truth-first-frame" in err
    result = evaluated(invoke, table, csv, "--truth-first-frame", 0)
    assert [cause["cause"] for cause in result["diagnosis"]["causes"]] == ["frames"]
    assert result["diagnosis"]["options"] == f"--truth-first-frame={-truth.frame.min()}"
    good = evaluated(invoke, table, csv, *result["diagnosis"]["options"].split())
    assert good["recall"] == pytest.approx(0.9, abs=0.03)


def test_only_covered_frames_count(tmp_path: Path, invoke: Invoke) -> None:
    truth, found = emitters()
    inside = (found.frame >= 40) & (found.frame < 80) & (found.frame != 60)
    table = save_found(tmp_path / "part.parquet", found.select(inside), frames=((40, 80),))
    path = save_truth(tmp_path / "truth.parquet", truth)
    result = evaluated(invoke, table, path)
    expected = int(((truth.frame >= 40) & (truth.frame < 80)).sum())
    assert result["num_truth"] == expected  # including frame 60, in which nothing was found
    assert result["frames"]["counted"] == [[40, 80]]
    assert result["frames"]["truth_rows_outside"] == len(truth) - expected
    assert result["diagnosis"]["causes"] == []
    _, text, _ = invoke("evaluate", table, path)
    assert "40 to 79 of 5 to 114" in text
    assert "truth rows in other frames do not count" in text
    fewer = evaluated(invoke, table, path, "--frames", "50:60")
    assert fewer["num_truth"] == int(((truth.frame >= 50) & (truth.frame < 60)).sum())
    assert fewer["frames"]["found_rows_outside"] > 0
    status, _, err = invoke("evaluate", table, path, "--frames", "90:100")
    assert (status, "contains none of the frames" in err) == (2, True)


def test_only_the_region_of_a_run_counts(tmp_path: Path, invoke: Invoke) -> None:
    """A run with part.roi is judged by the truth in its pixels; pixel i reaches from i - 1/2 to i + 1/2."""
    truth, found = emitters()
    roi = {"x": [20, 70], "y": [30, 80]}

    def inside(rows: Emitters) -> "np.ndarray[Any, np.dtype[np.bool_]]":
        x, y = rows.x_nm / PIXEL.x_nm + 0.5, rows.y_nm / PIXEL.y_nm + 0.5
        return np.asarray((x >= 20) & (x < 70) & (y >= 30) & (y < 80))

    whole = save_found(tmp_path / "whole.parquet", found)
    part = save_found(tmp_path / "part.parquet", found.select(inside(found)), configuration={"part": {"roi": roi}})
    path = save_truth(tmp_path / "truth.parquet", truth)
    result = evaluated(invoke, part, path)
    assert result["num_truth"] == int(inside(truth).sum())
    assert result["recall"] == pytest.approx(evaluated(invoke, whole, path)["recall"], abs=0.05)
    assert result["precision"] > 0.95
    assert result["frames"]["region_nm"] == [[1950.0, 6950.0], [2950.0, 7950.0]]
    assert result["diagnosis"]["causes"] == []
    _, text, _ = invoke("evaluate", part, path)
    assert "x 1950 to 6950 nm and y 2950 to 7950 nm, the region of the run" in text


def test_empty_frames_at_the_ends_are_covered(tmp_path: Path, invoke: Invoke) -> None:
    """Emitters in the last frames of the run, where nothing was found, count as missed."""
    truth, found = emitters()
    table = save_found(tmp_path / "dim.parquet", found.select(found.frame < 60))
    path = save_truth(tmp_path / "truth.parquet", truth)
    assert evaluated(invoke, table, path)["num_truth"] == len(truth)
    # a table of another program does not state its frames: they are taken from its rows, and the output says so
    bare = tmp_path / "bare.parquet"
    pq.write_table(pa.table({name: getattr(found.select(found.frame < 60), name) for name in NAMES}), bare)
    result = evaluated(invoke, bare, path)
    assert result["num_truth"] == int((truth.frame < 60).sum())
    assert result["frames"]["is_stated"] is False
    assert evaluated(invoke, bare, path, "--frames", "0:120")["num_truth"] == len(truth)


def test_a_filter_of_frames_narrows_the_covered_frames(tmp_path: Path, invoke: Invoke) -> None:
    truth, found = emitters()
    table = save_found(tmp_path / "found.parquet", found)
    path = save_truth(tmp_path / "truth.parquet", truth)
    for number, words in enumerate((["--where", "frame < 48 and photons > 0"], ["--volumes", "0:12"])):
        part = tmp_path / f"part{number}.parquet"
        status, _, err = invoke("filter", table, part, *words)
        assert status == 0, err
        if number == 1:  # all rows of this table have volume 0, so that only the metadata can state the frames
            assert read_metadata(part).frames == ((0, FRAMES),)
        result = evaluated(invoke, part, path)
        assert result["frames"]["counted"] == [[0, 48]]
        assert result["num_truth"] == int((truth.frame < 48).sum())


def words_of_depth(value: Any) -> list[str]:
    """Return the keys and quantities at any level that refer to z."""
    if isinstance(value, dict):
        own = [key for key in value if "axial" in key or {"z", "zs"} & set(key.split("_"))]
        return own + [word for item in value.values() for word in words_of_depth(item)]
    if isinstance(value, list):
        return [word for item in value for word in words_of_depth(item)]
    return [value] if value == "z" else []


@pytest.mark.parametrize("kind", ["zeros", "model", "import"])
def test_two_dimensional_tables_have_no_z(tmp_path: Path, invoke: Invoke, kind: str) -> None:
    truth, found = emitters(with_z=False)
    metadata: dict[str, Any] = {
        "zeros": {},
        "model": {"model": {"name": "flat", "psf": GaussianPsf(sigma_nm=150).to_dict(), "z_range_nm": [0.0, 0.0]}},
        "import": {"input": {"filled": {"z_nm": "0: two-dimensional"}}},
    }[kind]
    if kind != "zeros":
        found = replace(found, z_nm=np.random.default_rng(0).normal(0, 1, len(found)))
    table = save_found(tmp_path / "flat.parquet", found, **metadata)
    path, report = save_truth(tmp_path / "truth.parquet", truth), tmp_path / "r.png"
    assert words_of_depth(evaluated(invoke, table, path, "--report", report)) == []
    _, text, _ = invoke("evaluate", table, path)
    for word in ("axial", "z error", "zscore_z", "has no z"):
        assert word not in text
    status, text, err = invoke("inspect", table, "--json")
    assert status == 0, err
    assert json.loads(text)["dimensions"] == 2
    assert words_of_depth(json.loads(text)) == []
    status, text, _ = invoke("frc", table, "--json")
    assert words_of_depth(json.loads(text)) == []
    status, _, err = invoke("frc", table, "--view", "xz")
    assert (status, "is two-dimensional" in err) == (2, True)


def test_a_truth_without_z_is_reported_for_a_three_dimensional_table(tmp_path: Path, invoke: Invoke) -> None:
    truth, found = emitters()
    flat = replace(truth, z_nm=np.full(len(truth), np.nan))
    table = save_found(tmp_path / "found.parquet", found)
    _, text, _ = invoke("evaluate", table, save_truth(tmp_path / "flat.csv", flat))
    assert "The truth has no z: rows are compared in x and y only" in text


def structure(path: Path, num: int) -> Path:
    """Write a table of molecules, each of them localized once in each of 20 frames."""
    random = np.random.default_rng(2)
    site, frame = random.uniform(0, 2500, (num, 2)), np.repeat(np.arange(20), num)
    x, y = (np.tile(site, (20, 1)) + random.normal(0, 15, (num * 20, 2))).T
    return write_table(path, {"frame": frame, "x_nm": x, "y_nm": y})


@pytest.mark.parametrize(("num", "firm"), [(2000, True), (4, False)])
def test_frc_reports_its_uncertainty(tmp_path: Path, invoke: Invoke, num: int, firm: bool) -> None:
    table = structure(tmp_path / "t.parquet", num)
    status, text, err = invoke("frc", table, "--json", "--out", tmp_path / "frc.png")
    assert status == 0, err
    values = json.loads(text)
    low, high = values["interval_nm"]
    # ten localizations of each molecule in either half: 10 g / (1 + 9 g) = 1/7
    true = 2 * math.pi * 15 / math.sqrt(math.log(61))
    assert low <= true <= (high or math.inf)
    assert low < values["resolution_nm"] < (high or math.inf)
    assert values["is_firm"] is firm
    _, text, _ = invoke("frc", table)
    assert "95 % interval" in text
    assert ("too few for a firm number" in text or "not reliable" in text) is not firm
    _, text, _ = invoke("frc", table, "--no-interval")
    assert "no interval: it was not requested" in text


def test_frc_of_uncorrelated_localizations_is_not_firm(tmp_path: Path, invoke: Invoke) -> None:
    for seed in range(8):
        random = np.random.default_rng(seed)
        columns = {"frame": np.arange(60), **{f"{axis}_nm": random.uniform(0, 3000, 60) for axis in "xy"}}
        status, text, err = invoke("frc", write_table(tmp_path / f"{seed}.parquet", columns), "--json")
        assert status == 0, err
        assert json.loads(text)["is_firm"] is False
