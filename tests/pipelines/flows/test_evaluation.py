"""The commands ``evaluate`` and ``frc``: comparison with bounds, tables without a truth, Fourier ring correlation."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lls_decode.config import Camera, EmccdCamera, Geometry, PixelSize, ScmosCamera
from lls_decode.emitters import Emitters
from lls_decode.model.info import read_bundle_info
from lls_decode.models import find_bundle
from lls_decode.refine import with_bounds
from lls_decode.table import TableMetadata, schema, table_writer
from tests.pipelines.conftest import Invoke

MODEL = "lls-paint"
INFO = read_bundle_info(find_bundle(MODEL))


def write_table(path: Path, columns: dict[str, np.ndarray], **metadata: object) -> Path:
    """Write a table with the given columns, and zeros in all other columns."""
    canonical = schema(with_sample=False)
    length = len(columns["frame"])
    arrays = [
        pa.array(np.asarray(columns.get(field.name, np.zeros(length))).astype(field.type.to_pandas_dtype()))
        for field in canonical
    ]
    with table_writer(path, canonical, TableMetadata(**metadata)) as writer:
        writer.write(pa.table(arrays, schema=canonical))
    return path


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Write a table whose errors equal the bound, its truth, and the same truth without background."""
    random = np.random.default_rng(0)
    num = 3000
    low, high = INFO.z_range_nm
    truth = Emitters.from_columns(
        {
            "frame": np.arange(num),
            "x_nm": random.uniform(1000, 9000, num),
            "y_nm": random.uniform(1000, 9000, num),
            "z_nm": random.uniform(low, high, num) / 2,
            "photons": random.uniform(2000, 4000, num),
            "bg": np.full(num, 12.0),
        }
    )
    assert INFO.psf is not None
    bound = with_bounds(truth, INFO.psf, camera=INFO.camera, pixel=INFO.pixel_size)
    found = {
        "frame": truth.frame,
        **{f"{axis}_nm": random.normal(getattr(truth, f"{axis}_nm"), getattr(bound, f"{axis}_sig")) for axis in "xyz"},
        "photons": random.normal(truth.photons, bound.phot_sig),
        **{name: getattr(bound, name) for name in ("x_sig", "y_sig", "z_sig", "phot_sig")},
        "prob": np.ones(num),
    }
    table = write_table(tmp_path / "found.parquet", found, pixel_size=INFO.pixel_size)
    known = {name: getattr(truth, name) for name in ("frame", "x_nm", "y_nm", "z_nm", "photons", "bg")}
    pq.write_table(pa.table(known), tmp_path / "truth.parquet")
    pq.write_table(pa.table({name: v for name, v in known.items() if name != "bg"}), tmp_path / "dark.parquet")
    return table, tmp_path / "truth.parquet", tmp_path / "dark.parquet"


def test_errors_equal_to_the_bound_give_a_ratio_of_one(tables: tuple[Path, Path, Path], invoke: Invoke) -> None:
    table, truth, dark = tables
    options = ("--axial-nm", 2000, "--json")
    status, text, err = invoke("evaluate", table, truth, "--model", MODEL, *options)
    assert status == 0, err
    values = json.loads(text)
    assert [item["quantity"] for item in values["bounds"]] == ["x", "y", "z", "photons"]
    for item in values["bounds"]:
        assert item["ratio"] == pytest.approx(1, abs=0.04)
    for item in values["sigmas"]:
        assert item["rmse"] / item["sigma_rms"] == pytest.approx(1, abs=0.04)
    # --bg replaces the background of the truth; four times the background makes the bound larger
    _, text, _ = invoke("evaluate", table, dark, "--model", MODEL, "--bg", 12, *options)
    assert json.loads(text)["bounds"] == values["bounds"]
    _, text, _ = invoke("evaluate", table, dark, "--model", MODEL, "--bg", 48, *options)
    assert json.loads(text)["bounds"][0]["ratio"] < 0.9
    status, _, err = invoke("evaluate", table, dark, "--model", MODEL)
    assert status == 2
    assert "3000 of 3000 rows of the truth have no bg" in err
    assert "--bg" in err


@pytest.mark.parametrize(
    ("camera", "ratio"),
    [
        # amplification doubles the variance: 0.45 detected electrons count for each photon, instead of 0.8
        pytest.param(
            EmccdCamera(baseline_adu=100, e_per_adu=5, em_gain=300, read_sigma_e=10, quantum_efficiency=0.9),
            (0.45 / 0.8) ** 0.5,
            id="EMCCD",
        ),
        pytest.param(
            ScmosCamera(offset_adu="absent.npy", gain_adu_per_e=1.0, variance_adu2=1.0, quantum_efficiency=0.1),
            1.0,
            id="maps, replaced by the model's camera",
        ),
    ],
)
def test_the_bound_is_that_of_the_camera_of_the_table(
    camera: Camera, ratio: float, tables: tuple[Path, Path, Path], tmp_path: Path, invoke: Invoke
) -> None:
    table, truth, _ = tables
    rows = pq.read_table(table)
    columns = {name: rows[name].to_numpy() for name in rows.column_names}
    other = write_table(tmp_path / "other.parquet", columns, pixel_size=INFO.pixel_size, camera=camera)
    status, text, err = invoke("evaluate", other, truth, "--model", MODEL, "--axial-nm", 2000, "--json")
    assert status == 0, err
    assert json.loads(text)["bounds"][0]["ratio"] == pytest.approx(ratio, rel=0.08)


def test_report_and_printed_scores(tables: tuple[Path, Path, Path], tmp_path: Path, invoke: Invoke) -> None:
    table, truth, _ = tables
    report = tmp_path / "report.png"
    status, text, err = invoke("evaluate", table, truth, "--model", MODEL, "--report", report)
    assert status == 0, err
    assert report.read_bytes().startswith(b"\x89PNG")
    for words in ("rmse / bound", "correlation", "sub-pixel x", "(truth "):
        assert words in text


def test_subpixel_bias_is_evaluated_without_a_truth(tmp_path: Path, invoke: Invoke) -> None:
    random = np.random.default_rng(1)
    pixel = PixelSize(x_nm=104.0, y_nm=98.0)
    num = 20_000
    at_centre = 104.0 * (random.integers(0, 100, num) + random.normal(0, 0.05, num))
    columns = {"frame": np.arange(num), "x_nm": at_centre, "y_nm": random.uniform(0, 9800, num)}
    table = write_table(tmp_path / "t.parquet", columns, pixel_size=pixel)
    status, text, _ = invoke("evaluate", table, "--json")
    x, y = json.loads(text)["subpixel"]
    assert status == 0
    # a normal spread of 0.05 pixels: the harmonic is 2 exp(-2 pi^2 0.05^2)
    assert x["modulation"] == pytest.approx(2 * math.exp(-2 * math.pi**2 * 0.05**2), abs=0.01)
    assert abs(y["modulation"]) < 4 * y["modulation_error"]
    unknown = write_table(tmp_path / "u.parquet", columns)
    status, _, err = invoke("evaluate", unknown)
    assert (status, "--pixel-nm" in err) == (2, True)
    status, text, _ = invoke("evaluate", unknown, "--pixel-nm", 104, "--json")
    assert json.loads(text)["subpixel"][0] == x


def test_file_that_is_not_a_table_is_refused(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "text.parquet").write_text("frame,x_nm")
    for name in ("absent.parquet", "text.parquet"):
        status, _, err = invoke("evaluate", tmp_path / name)
        assert (status, "cannot be read as a localization table" in err) == (3, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["{table}", "--model", MODEL], "give TRUTH after TABLE", id="bound without truth"),
        pytest.param(["{table}", "--report", "r.png"], "give TRUTH after TABLE", id="report without truth"),
        pytest.param(["{table}", "{truth}", "--bg", "3"], "give --model too", id="background without camera"),
    ],
)
def test_options_that_need_other_arguments_are_refused_without_them(
    tables: tuple[Path, Path, Path], invoke: Invoke, words: list[str], message: str
) -> None:
    table, truth, _ = tables
    status, _, err = invoke("evaluate", *(word.format(table=table, truth=truth) for word in words))
    assert status == 2
    assert message in err


def test_model_without_psf_is_refused(tables: tuple[Path, Path, Path], tmp_path: Path, invoke: Invoke) -> None:
    from lls_decode.model.bundle import load_bundle, save_bundle

    bundle = load_bundle(find_bundle(MODEL))
    save_bundle(tmp_path / "imported.lls", bundle.network, bundle.info.replace(psf=None))
    table, truth, _ = tables
    status, _, err = invoke("evaluate", table, truth, "--model", tmp_path / "imported.lls")
    assert status == 2
    assert "does not state which PSF" in err


def write_structure(path: Path, *, sigma: float, geometry: Geometry | None = None) -> Path:
    """Write a table of random molecules, each of them localized once in each of 10 volumes of 4 planes."""
    random = np.random.default_rng(2)
    num, volumes, planes = 3000, 10, 4
    site = random.uniform(0, 2500, (num, 2))
    plane = random.integers(0, planes, num)
    volume, plane = np.repeat(np.arange(volumes), num), np.tile(plane, volumes)
    x, y = (np.tile(site, (volumes, 1)) + random.normal(0, sigma, (num * volumes, 2))).T
    frame = volume * planes + plane
    columns = {"frame": frame, "volume": volume, "plane": plane, "x_nm": x, "y_nm": y}
    return write_table(path, columns, planes_per_volume=planes, geometry=geometry)


def test_frc_of_a_table_agrees_with_theory(tmp_path: Path, invoke: Invoke) -> None:
    table = write_structure(tmp_path / "t.parquet", sigma=15.0)
    status, text, err = invoke("frc", table, "--json", "--out", tmp_path / "frc.png")
    assert status == 0, err
    values = json.loads(text)
    assert values["num_localizations"] == [15_000, 15_000]
    # five localizations of each molecule in either half: 5 g / (1 + 4 g) = 1/7
    assert values["resolution_nm"] == pytest.approx(2 * math.pi * 15.0 / math.sqrt(math.log(31)), rel=0.05)
    assert (tmp_path / "frc.png").read_bytes().startswith(b"\x89PNG")
    status, text, _ = invoke("frc", table, "--x-nm", "0:1000", "--pixel-nm", 10)
    assert status == 0
    assert "resolution " in text
    status, _, err = invoke("frc", table, "--blocks", 12)
    assert (status, "spans 10 volumes" in err) == (2, True)


def test_frc_in_sample_coordinates(tmp_path: Path, invoke: Invoke) -> None:
    """Camera x of different planes of a stage scan cannot be compared; the sample coordinate is k * step + x cos(a)."""
    geometry = Geometry(motion="stage", stage_step_nm=400.0, angle_deg=60.0)
    table = write_structure(tmp_path / "t.parquet", sigma=15.0, geometry=geometry)
    shape = {}
    for coords in ("raw", "sample"):
        status, text, err = invoke("frc", table, "--coords", coords, "--json", "--pixel-nm", 10)
        assert status == 0, err
        shape[coords] = json.loads(text)["shape"]
    # raw: 2500 nm; sample: 3 steps of 400 nm and 2500 nm * cos 60 deg
    assert shape["raw"][1] * 10 == pytest.approx(2600, abs=100)
    assert shape["sample"][1] * 10 == pytest.approx(1200 + 1250, abs=120)


def test_uncorrelated_halves_are_reported(tmp_path: Path, invoke: Invoke) -> None:
    random = np.random.default_rng(3)
    columns = {"frame": np.arange(4000), **{f"{axis}_nm": random.uniform(0, 3000, 4000) for axis in "xy"}}
    status, text, _ = invoke("frc", write_table(tmp_path / "t.parquet", columns))
    assert status == 0
    assert "not correlated" in text
