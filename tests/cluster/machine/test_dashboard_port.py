"""Port of the dashboard, which another program may take first."""

import asyncio
import socket
import warnings

from distributed import Scheduler

from lls_decode.cluster.addresses import free_address
from lls_decode.cluster.settings import LOOPBACK


def test_port_taken_at_the_last_moment_is_replaced_without_warning() -> None:
    """A port that is free when checked but taken when the scheduler starts is replaced, without a warning of dask."""
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        port = other.getsockname()[1]
    address = free_address(f"{LOOPBACK}:{port}")
    assert address == f"{LOOPBACK}:{port}"

    async def dashboard() -> int:
        async with Scheduler(host=LOOPBACK, port=0, dashboard=True, dashboard_address=address) as scheduler:
            return int(scheduler.http_server.port)

    with socket.socket() as other, warnings.catch_warnings(record=True) as said:
        other.bind((LOOPBACK, port))
        other.listen()
        warnings.filterwarnings("always")
        free_address(address)
        assert asyncio.run(dashboard()) not in (0, port)
    assert [str(word.message) for word in said if "Port" in str(word.message)] == []
