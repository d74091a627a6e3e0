"""Contract that every kind of site fulfils; a new kind needs one class and one line that lists it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from click.testing import CliRunner
from distributed import Client

from lls_decode.cluster.diagnosis import examine_site
from lls_decode.cluster.profile import Request, SiteProfile, State
from lls_decode.cluster.site import KINDS, connect, load_profile
from lls_decode.config.base import parse
from lls_decode.errors import SiteError
from lls_decode.pipelines.cli.machines import show_site

VALUES: dict[str, dict[str, Any]] = {"scheduler": {"address": "tcp://node17:8786"}}
"""Required keys of the kinds that have any."""


@pytest.fixture(params=KINDS)
def profile(request: pytest.FixtureRequest) -> SiteProfile:
    """Return a profile of each kind in turn."""
    return parse(KINDS[request.param], VALUES.get(request.param, {}), source="test")


def test_profile_can_be_written_and_read_back(profile: SiteProfile, tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(profile.to_yaml())
    assert load_profile(path) == profile


def test_only_unattended_sites_have_jobs(profile: SiteProfile, tmp_path: Path) -> None:
    scripts = profile.describe_scripts(tmp_path, ("-m", "program"))
    if profile.is_unattended:
        assert scripts is not None
        assert profile.jobs(tmp_path).describe() != []
        return
    assert scripts is None
    with pytest.raises(SiteError, match=r"submits no jobs; give an unattended site\.$"):
        profile.jobs(tmp_path)
    with pytest.raises(SiteError, match=r"has no driver jobs; give an unattended site\.$"):
        profile.drive(tmp_path)


def test_limits_are_positive_where_they_are_known(profile: SiteProfile) -> None:
    limits = (profile.worker_threads, profile.worker_bytes, profile.patience_s)
    assert all(limit is None or limit > 0 for limit in limits)


class ThreadSite(SiteProfile):
    """A site whose workers are threads of this process."""

    kind: Literal["threads"] = "threads"
    workers: int = 2

    def open(self, request: Request) -> AbstractContextManager[Client]:
        return self._open(request)

    @contextmanager
    def _open(self, request: Request) -> Iterator[Client]:
        workers = request.workers or self.workers
        with Client(
            processes=False, n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as client:
            yield client

    def examine(self) -> Iterator[tuple[State, str]]:
        yield "ok", f"{self.workers} threads"


def test_new_kind_can_be_used_after_listing_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(KINDS, "threads", ThreadSite)
    path = tmp_path / "mine.yaml"
    path.write_text("kind: threads  # few\nworkers: 3\n")
    with connect(str(path)) as client:
        assert len(client.nthreads()) == 3
        assert client.submit(sum, [1, 2]).result(timeout=60) == 3
    assert list(examine_site(str(path))) == [("ok", "3 threads")]
    assert CliRunner().invoke(show_site, [str(path)]).output == path.read_text()
