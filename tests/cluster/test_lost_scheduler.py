"""A scheduler that dies right after it has answered is reported as an error of the site."""

from collections.abc import Iterator

import pytest
from distributed import Client, LocalCluster

from lls_decode.cluster.profile import Request
from lls_decode.cluster.workers import check_versions, quiet, wait_for_workers
from lls_decode.errors import SiteError
from lls_decode.pipelines.running.run import _smallest_memory


@pytest.fixture
def lost() -> Iterator[Client]:
    """Return a client whose scheduler has ended."""
    with LocalCluster(n_workers=0, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0") as cluster:
        client = Client(cluster.scheduler_address, timeout=10, set_as_default=False)
        with quiet():
            cluster.close()
            yield client
            client.close(timeout=5)


def test_lost_scheduler_raises_a_site_error(lost: Client) -> None:
    with pytest.raises(SiteError, match="scheduler"):
        check_versions(lost, "tcp://somewhere")
    with pytest.raises(SiteError):
        wait_for_workers(lost, 1, Request("tcp://somewhere", timeout_s=2), advice="start some")
    info = lost.scheduler_info()
    if "workers" not in info:
        with pytest.raises(SiteError, match="was lost"):
            _smallest_memory(lost)
