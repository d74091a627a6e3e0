"""Report of a run: its numbers agree with table and ledger, it is a single file, and it names lost frames."""

import base64
import json
import logging
import re
import shlex
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import Client

from lls_decode.config import ComputeConfig, load_run_config
from lls_decode.errors import InputError
from lls_decode.evaluate import TableSummary
from lls_decode.molecules import link
from lls_decode.pipelines.cli import main
from lls_decode.pipelines.flows.table_inspection import inspect_table
from lls_decode.pipelines.planning.plan import Plan, make_plan
from lls_decode.pipelines.report.pictures import reconstruction
from lls_decode.pipelines.report.writing import report_if_possible, write_report
from lls_decode.pipelines.running.run import run
from lls_decode.table import TableMetadata, iter_tables, read_metadata, schema, table_writer
from tests.pipelines.conftest import HEIGHT, WIDTH, World, ledger, run_config, write_movie

pytest.importorskip("matplotlib", reason="a report needs matplotlib")

MOST_BYTES = 3_000_000
TILE_PX = 20


class Page(HTMLParser):
    """Parser that collects the content of a report: facts, tables, pictures, code to copy, and all text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.facts: dict[str, str] = {}
        self.rows: list[list[str]] = []
        self.images: list[str] = []
        self.code: list[str] = []
        self.words = ""
        self.tags: set[str] = set()
        self._open = ""
        self._name = ""
        self.size = path.stat().st_size
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._open = tag
        if tag == "img":
            self.images.append(dict(attrs)["src"] or "")
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "dd":
            self.facts[self._name] = ""
        elif tag == "code":
            self.code.append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open != "style":
            self.words += data
        if self._open == "dt":
            self._name = data
        elif self._open == "dd":
            self.facts[self._name] += data
        elif self._open in ("td", "th"):
            self.rows[-1][-1] += data
        elif self._open == "code":
            self.code[-1] += data

    def number(self, name: str) -> float:
        return first_number(self.facts[name])

    def row(self, name: str) -> list[str]:
        return next(row for row in self.rows if row and row[0] == name)


def first_number(text: str) -> float:
    found = re.search(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?", text)
    assert found, text
    return float(found[0].replace(",", ""))


@pytest.fixture(scope="module")
def done(world: World, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Return the plan of a finished run whose frames were divided into tiles."""
    config = run_config(16).replace(compute=ComputeConfig(device="cpu", threads=1, tile_px=TILE_PX, dtype="float32"))
    plan = make_plan(world.movie, world.bundle(), tmp_path_factory.mktemp("done") / "out", config)
    assert run(plan, client).exit_status == 0
    return plan


@pytest.fixture(scope="module")
def page(done: Plan) -> Page:
    return Page(write_report(done.out))


def rows_of(plan: Plan) -> dict[str, np.ndarray]:
    table = pq.read_table(plan.out / "localizations.parquet")
    return {name: table[name].to_numpy() for name in table.column_names}


def test_numbers_agree_with_the_table(done: Plan, page: Page) -> None:
    rows = rows_of(done)
    num = len(rows["frame"])
    assert "Complete: all 8 blocks, 120 frames, are done" in page.words
    assert page.number("localizations") == num
    assert page.facts["detection"] == "rule model: candidate 0.3, confident 0.6, accept 0.7"
    assert page.number("per frame") == pytest.approx(num / 120, abs=0.05)
    assert (page.number("frames"), page.number("frames lost"), page.number("blocks done")) == (120, 0, 8)
    expected = np.minimum(rows["prob"], 1).sum(dtype=float)
    assert page.number("mean probability") == pytest.approx(expected / num, abs=5e-4)
    assert page.number("expected to be right") == pytest.approx(expected, abs=0.51)
    for name in ("x_nm", "y_nm", "z_nm", "photons", "bg", "x_sig", "y_sig", "z_sig", "prob"):
        found = [first_number(cell) for cell in page.row(name)[1:6]]
        np.testing.assert_allclose(found, np.quantile(rows[name], [0.5, 0.05, 0.95, 0, 1]), rtol=0.02, atol=2.0)


def test_numbers_agree_with_the_ledger(done: Plan, page: Page) -> None:
    blocks = ledger(done)
    start = json.loads((done.out / "events.jsonl").read_text().splitlines()[0])["at"]
    seconds = max(block["at"] for block in blocks) - start
    assert page.number("frames/s") == pytest.approx(120 / seconds, rel=0.02, abs=0.06)
    for name, key in (("reading", "read_s"), ("computing", "compute_s"), ("writing", "write_s")):
        assert page.number(name) == pytest.approx(sum(block[key] for block in blocks), rel=0.01, abs=0.01)
    assert page.number("worker processes") == len({block["pid"] for block in blocks})
    assert (page.number("starts"), page.number("retries")) == (1, 0)


def test_seams_are_measured_at_the_cuts_between_blocks_and_tiles(done: Plan, page: Page) -> None:
    """Localizations are counted in the frames and columns of pixels on both sides of each cut."""
    rows = rows_of(done)
    frames = np.bincount(rows["frame"], minlength=120)
    column = np.floor(rows["x_nm"].astype(float) / 100 + 0.5).astype(int)
    columns = np.bincount(column[(column >= 0) & (column < WIDTH)], minlength=WIDTH)
    for name, counts, step in (
        ("beside cuts, blocks (frames)", frames, 16),
        ("beside cuts, tiles, x (pixels)", columns, TILE_PX),
    ):
        place = np.arange(len(counts))
        cuts = np.arange(step, len(counts), step)
        distance = np.minimum(abs(place[:, None] - cuts), abs(place[:, None] - cuts + 1)).min(axis=1)
        ratio = counts[distance == 0].mean() / counts[(distance >= 2) & (distance < 8)].mean()
        assert page.number(name) == pytest.approx(ratio, abs=6e-4)
        assert page.facts[name].endswith(f"at {len(cuts)} cuts")


def test_the_report_is_a_single_file(page: Page) -> None:
    assert page.size < MOST_BYTES
    assert len(page.images) >= 9
    for source in page.images:
        kind, _, content = source.partition(";base64,")
        begin = {"data:image/png": b"\x89PNG", "data:image/jpeg": b"\xff\xd8\xff"}[kind]
        assert base64.b64decode(content, validate=True).startswith(begin)
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert "http" not in page.words


def test_the_command_in_the_report_gives_the_same_run(done: Plan, page: Page, tmp_path: Path) -> None:
    text = next(item for item in page.code if "lls-decode run" in item)
    first, *lines, end, command = text.splitlines()
    assert (first, end) == ("cat > run.yaml <<'END'", "END")
    (tmp_path / "run.yaml").write_text("\n".join(lines))
    program, verb, dataset, *options = shlex.split(command)
    given = dict(zip(options[::2], options[1::2], strict=True))
    assert (program, verb, given["--config"]) == ("lls-decode", "run", "run.yaml")
    again = make_plan(dataset, given["--model"], given["--out"], load_run_config(tmp_path / "run.yaml"))
    assert again.run_digest == done.run_digest


def test_the_report_shows_how_to_read_the_table(done: Plan, page: Page) -> None:
    found = "\n".join(page.code)
    assert f"read_parquet('{(done.out / 'localizations.parquet').resolve()}'" in found
    assert "parquetread(" in found
    assert "SELECT " in found


def test_lost_frames_are_named(world: World, client: Client, tmp_path: Path) -> None:
    movie = write_movie(tmp_path / "movie.zarr", (120, HEIGHT, WIDTH))
    chunk = movie / "c" / "10" / "0" / "0"  # frames 40 to 43
    chunk.write_bytes(chunk.read_bytes()[:50])
    plan = world.plan(tmp_path / "out", dataset=movie, block_frames=24, execution={"retries": 0})
    assert run(plan, client).exit_status == 1
    page = Page(write_report(plan.out, to=tmp_path / "elsewhere.html"))
    assert "Incomplete: 5 of 5 blocks are done" in page.words
    assert "4 of 120 frames are lost" in page.words
    assert page.number("frames lost") == 4
    lost = page.row("b000001")
    assert lost[1:3] == ["4", "40 to 43"]
    assert "ChunkError" in lost[4]
    assert "c/10/0/0" in lost[4]
    table = plan.out / "localizations.parquet"
    assert page.number("per frame") == pytest.approx(pq.read_metadata(table).num_rows / 116, abs=0.05)
    assert not (plan.out / "report.html").exists()
    assert inspect_table(table)["lost_frames"] == ["40-43"]

    table.unlink()  # the report of a run that was not merged also names lost frames
    page = Page(write_report(plan.out))
    assert "no table was merged yet" in page.words
    assert page.row("b000001")[1] == "4"


def test_processing_steps_of_a_table_are_listed(done: Plan, tmp_path: Path) -> None:
    table = tmp_path / "moved.parquet"
    original = done.out / "localizations.parquet"
    metadata = read_metadata(original).with_step("drift", method="rcc", largest_nm=12.5)
    pieces = list(iter_tables(original))
    with table_writer(table, pieces[0].schema.remove_metadata(), metadata) as writer:
        for piece in pieces:
            writer.write(piece)
    page = Page(write_report(done.out, table=table, to=tmp_path / "moved.html"))
    assert page.facts["drift"] == "method rcc, largest nm 12.5"
    assert "sub-pixel modulation, x" not in page.facts  # positions no longer refer to pixels
    assert inspect_table(table)["history"] == ["drift: method rcc, largest nm 12.5"]


def test_report_of_linked_molecules_counts_molecules(done: Plan, tmp_path: Path) -> None:
    table = done.out / "localizations.parquet"
    link(table, out=tmp_path)
    page = Page(write_report(done.out, table=tmp_path / "molecules.parquet", to=tmp_path / "molecules.html"))
    assert page.number("molecules") == pq.read_metadata(tmp_path / "molecules.parquet").num_rows
    assert page.facts["link"].startswith("sigmas ")
    assert "Possible artefacts" not in page.words


def test_inspect_agrees_with_values_from_numpy(done: Plan) -> None:
    rows, found = rows_of(done), inspect_table(done.out / "localizations.parquet")
    assert found["rows"] == len(rows["frame"])
    assert found["volumes"] == {"first": int(rows["volume"].min()), "last": int(rows["volume"].max())}
    assert found["planes"] == {"first": 0, "last": 0}
    assert found["extent_um"]["x"] == pytest.approx(np.ptp(rows["x_nm"]) / 1000, abs=1e-3)
    photons = found["photons"]
    assert photons["min"] == rows["photons"].min()
    assert photons["max"] == rows["photons"].max()
    assert photons["mean"] == pytest.approx(rows["photons"].mean(dtype=float), rel=1e-5)
    assert photons["median"] == pytest.approx(np.median(rows["photons"]), rel=0.005)
    assert found["history"] == found["missing_blocks"] == []
    json.dumps(found)


def test_pictures_of_dense_tables_stay_small(tmp_path: Path) -> None:
    """Noise across a large field cannot be compressed well as PNG and is stored as JPEG."""
    rng, num = np.random.default_rng(1), 300_000
    canonical = schema(with_sample=False)
    columns = {name: rng.uniform(0, 40_000, num) for name in ("x_nm", "y_nm")} | {"z_nm": rng.uniform(0, 900, num)}
    arrays = [
        pa.array(columns.get(field.name, np.full(num, 5.0)).astype(field.type.to_pandas_dtype())) for field in canonical
    ]
    table = pa.table(arrays, schema=canonical)
    path, summary = tmp_path / "table.parquet", TableSummary(tuple(table.column_names), 1)
    with table_writer(path, canonical, TableMetadata()) as writer:
        writer.write(table)
    summary.add({name: table[name].to_numpy() for name in table.column_names})
    drawn = reconstruction(path, summary)
    assert [(view, shown.num_drawn) for view, shown, _ in drawn] == [("xy", num), ("xz", num)]
    assert drawn[0][2].startswith(b"\xff\xd8\xff")
    assert sum(len(image) for *_, image in drawn) < MOST_BYTES / 2


def test_a_stray_localization_does_not_coarsen_the_picture(tmp_path: Path) -> None:
    rng, canonical = np.random.default_rng(1), schema(with_sample=False)
    x, y = rng.uniform(0, 40_000, (2, 500))
    x[-1] = 25e6
    columns = {"x_nm": x, "y_nm": y, "z_nm": rng.uniform(0, 900, 500)}
    arrays = [pa.array(columns.get(f.name, np.full(500, 5.0)).astype(f.type.to_pandas_dtype())) for f in canonical]
    table = pa.table(arrays, schema=canonical)
    path, summary = tmp_path / "table.parquet", TableSummary(tuple(table.column_names), 1)
    with table_writer(path, canonical, TableMetadata()) as writer:
        writer.write(table)
    summary.add({name: table[name].to_numpy() for name in table.column_names})
    for view, shown, _ in reconstruction(path, summary):
        assert (shown.num_drawn, shown.num_outside, shown.pixel_nm < 40) == (499, 1, True), view
        assert "left out 1 localization" in shown.notes[0]


def test_a_table_of_another_run_is_refused(done: Plan, tmp_path: Path) -> None:
    table = tmp_path / "other.parquet"
    original = done.out / "localizations.parquet"
    metadata = read_metadata(original).model_copy(update={"run_digest": "0" * 16})
    with table_writer(table, next(iter_tables(original)).schema.remove_metadata(), metadata):
        pass
    with pytest.raises(InputError, match="is a table of the run 0000000000000000"):
        write_report(done.out, table=table)


def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


def with_a_damaged_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("Input/output error")

    monkeypatch.setattr("lls_decode.pipelines.report.writing.read_metadata", fail)


@pytest.mark.parametrize(("harm", "word"), [(without_matplotlib, "matplotlib"), (with_a_damaged_table, "Input/output")])
def test_a_report_that_cannot_be_written_is_logged_as_one_warning(
    done: Plan,
    harm: Callable[[pytest.MonkeyPatch], None],
    word: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (done.out / "report.html").unlink(missing_ok=True)
    harm(monkeypatch)
    with caplog.at_level(logging.WARNING):
        assert report_if_possible(done.out) is None
    assert len(caplog.records) == 1
    assert word in caplog.text


def test_the_command_writes_the_report_and_an_up_to_date_report_is_kept(
    done: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["report", str(done.out)])
    assert end.value.code == 0
    target = done.out / "report.html"
    assert capsys.readouterr().out.strip() == str(target)
    before = target.stat().st_mtime_ns
    assert report_if_possible(done.out) == target
    assert target.stat().st_mtime_ns == before
