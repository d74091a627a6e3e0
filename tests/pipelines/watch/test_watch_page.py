"""The page of a run and its metrics over real HTTP, within Dask's dashboard and served separately."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
import zarr
from distributed import Client
from prometheus_client.parser import text_string_to_metric_families

from lls_decode.cluster.addresses import tunnel_to
from lls_decode.errors import InputError, SiteError
from lls_decode.pipelines.planning.plan import Plan
from lls_decode.pipelines.running.run import run
from lls_decode.pipelines.watch.serving import attach, serve
from tests.pipelines.browser import FIGURES, TEXT, Page, browser, find_browser
from tests.pipelines.conftest import HEIGHT, WIDTH, World, ledger, wait_for, write_movie
from tests.pipelines.run_folders import Folder, make_folder

from .conftest import served_by_a_thread

ARTEFACTS = Path(__file__).resolve().parents[3] / "build" / "artefacts"
"""Folder in which screenshots of the page are saved for inspection."""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return a run folder with six blocks, one for each volume of four planes."""
    return make_folder(tmp_path / "out")


def get(link: str) -> str:
    with urlopen(link, timeout=60) as answer:
        return str(answer.read().decode())


def figures(link: str, out: Path) -> dict[tuple[str, str], float]:
    """Return the metrics of lls_decode for one run by name and state."""
    return {
        (sample.name.removeprefix("lls_decode_"), sample.labels.get("state", "")): sample.value
        for family in text_string_to_metric_families(get(link))
        for sample in family.samples
        if sample.labels.get("run") == str(out) and "worker" not in sample.labels
    }


@contextmanager
def served(out: Path) -> Iterator[str]:
    """Serve the page of a folder in a thread, and yield its address."""

    @asynccontextmanager
    async def page() -> AsyncIterator[str]:
        with serve(out, port=0) as server:
            yield server.link

    with served_by_a_thread(page) as link:
        yield link


@pytest.fixture(scope="module")
def damaged(world: World, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Return the plan of a finished run with lost frames and a failed block.

    The run's page was part of the dashboard from the beginning.
    """
    folder = tmp_path_factory.mktemp("watched")
    movie = write_movie(folder / "movie.zarr", (120, HEIGHT, WIDTH), dtype="float32")
    chunk = movie / "c" / "11" / "0" / "0"  # frames 44 to 47
    chunk.write_bytes(chunk.read_bytes()[:100])
    zarr.open_array(str(movie))[100, 3, 4] = np.nan  # makes its block fail
    plan = world.plan(folder / "out", dataset=movie, block_frames=8, execution={"retries": 0})
    assert attach(client, plan.out) == str(client.dashboard_link).replace("/status", "/lls-decode")
    run(plan, client)
    return plan


def expected(plan: Plan) -> dict[str, int]:
    """Return the figures that follow from the ledger."""
    done = [item for item in ledger(plan) if item["event"] == "BlockDone"]
    failed = [item for item in ledger(plan) if item["event"] == "BlockFailed"]
    lost = sum(item.get("frames_lost", 0) for item in done)
    assert failed
    assert lost == 4
    return {
        "blocks_done": len(done),
        "blocks_failed": len(failed),
        "frames_done": sum(item["frames"] for item in done) - lost,
        "frames_failed": sum(item["frames"] for item in failed) + lost,
        "rows": sum(item["rows"] for item in done),
    }


@pytest.mark.parametrize("page", ["/metrics", "/lls-decode/metrics"])
def test_scheduler_serves_the_metrics_of_the_run(damaged: Plan, client: Client, page: str) -> None:
    link = str(client.dashboard_link).removesuffix("/status")
    truth = expected(damaged)

    def agree() -> bool:  # the page reads the run folder every two seconds
        found = figures(link + page, damaged.out.resolve())
        return found.get(("run_active", "")) == 0 and found.get(("rows", "")) == truth["rows"]

    wait_for(agree, f"{link}{page} agrees with the ledger")
    found = figures(link + page, damaged.out.resolve())
    assert found["blocks", "done"] == truth["blocks_done"]
    assert found["blocks", "failed"] == truth["blocks_failed"]
    assert found["frames", "lost"] == truth["frames_failed"]
    assert found["frames_per_second", ""] > 0
    assert ("dask_scheduler_workers" in get(link + page)) == (page == "/metrics")


def test_dashboard_links_to_the_page(damaged: Plan, client: Client) -> None:
    link = str(client.dashboard_link).removesuffix("/status")
    assert get(f"{link}/status").count('<a href="lls-decode">') == 1
    page = get(f"{link}/lls-decode")
    assert '<a href="status">' in page
    assert "bokeh" in page


def test_separately_served_page_follows_the_run(folder: Folder) -> None:
    folder.done(0, 10)
    with served(folder.out) as link:
        wait_for(
            lambda: figures(f"{link}metrics", folder.out).get(("blocks", "done")) == 1, "the first update of the page"
        )
        folder.done(1, 20)
        wait_for(
            lambda: figures(f"{link}metrics", folder.out).get(("blocks", "done")) == 2, "an update of the page", 90
        )
        assert "bokeh" in get(link)
        with (
            pytest.raises(SiteError, match="give another --port"),
            serve(folder.out, port=int(link.rstrip("/").rpartition(":")[2])),
        ):
            pass


def test_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="contains no run"), serve(tmp_path, port=0):
        pass


def test_ssh_command_is_given_only_for_a_local_page_in_an_ssh_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    assert tunnel_to("http://127.0.0.1:8788/") is None
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.5 50000 10.0.0.9 22")
    assert tunnel_to("http://node17:8787/status") is None
    words = tunnel_to("http://127.0.0.1:8787/lls-decode")
    assert words is not None
    assert words.startswith("ssh -N -L 8787:127.0.0.1:8787 ")
    assert words.endswith(", then http://127.0.0.1:8787/lls-decode")


def test_watch_command_prints_the_address_of_the_page(folder: Folder) -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "lls_decode.pipelines.cli", "watch", str(folder.out), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        link = process.stdout.readline().strip()
        assert "bokeh" in get(link)
    finally:
        process.terminate()
        process.wait(timeout=20)


async def look_at(port: int, link: str, truth: dict[str, int], picture: Path) -> str:
    """Open the page, wait until it shows the expected figures, save a screenshot, and return the text of the page."""
    page = Page(port)
    await page.open(link)
    await page.size(1400, 1000)
    there = " && ".join(f"figures.{name} == {value}" for name, value in truth.items())
    await page.wait_for(f"(() => {{ const figures = {FIGURES.strip()}; return {there} }})()")
    await page.size(1400)
    await page.screenshot(picture)
    assert page.complaints == []
    return str(await page.evaluate(TEXT))


@pytest.mark.parametrize("place", ["dashboard", "alone"])
def test_page_in_a_browser_agrees_with_the_ledger(damaged: Plan, client: Client, tmp_path: Path, place: str) -> None:
    executable = find_browser()
    if executable is None:
        pytest.skip("no Chromium is installed here (Debian: apt install chromium), so that the page was not tested")
    truth = expected(damaged)
    truth["drawn"] = truth["rows"]
    with browser(executable, tmp_path / "profile") as port, served(damaged.out) as alone:
        link = alone if place == "alone" else str(client.dashboard_link).replace("/status", "/lls-decode")
        words = asyncio.run(look_at(port, link, truth, ARTEFACTS / f"watch-{place}.png"))
    assert "b000005" in words
    assert "ChunkError" in words
    assert "b000012" in words
    assert "FrameValueError" in words
    assert "slowest first" in words
    assert ("Documentation" in words) == (place == "dashboard")  # part of Dask's navigation bar
