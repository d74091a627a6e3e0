"""Other users of the machine cannot use a local cluster through any of its ports."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from distributed import Client

from lls_decode.cluster.site import connect

STRANGER = """\
import asyncio, json, os, sys

from distributed.comm import connect
from distributed.security import Security

given = json.load(sys.stdin)
roles = ("client", "scheduler", "worker")
if given["certificate"]:
    options = {f"tls_{role}_key": given["key"] for role in roles}
    options |= {f"tls_{role}_cert": given["certificate"] for role in roles}
    keys = Security(require_encryption=True, tls_ca_file=given["certificate"], **options)
else:
    keys = Security.temporary()
if os.getuid() == 0:
    os.setuid(65534)


async def identify(address, **options):
    comm = await connect(address, timeout=20, **options)
    await comm.write({"op": "identity", "reply": True})
    return (await comm.read())["type"]


async def answer(address, **options):
    try:
        return await asyncio.wait_for(identify(address, **options), 12)
    except (OSError, TimeoutError, asyncio.TimeoutError) as error:
        return f"refused: {error}"


async def main():
    tls = keys.get_connection_args("client")
    tries = [(port, how) for port in given["ports"] for how in ("tcp", "tls")]
    options = {"tcp": {}, "tls": tls}
    said = await asyncio.gather(*(answer(f"{how}://127.0.0.1:{port}", **options[how]) for port, how in tries))
    print(json.dumps(list(zip(tries, said))))


asyncio.run(main())
"""


def listening_ports() -> list[int]:
    """Return the TCP ports on which this process and its children listen."""
    here = psutil.Process()
    return sorted(
        connection.laddr.port
        for process in (here, *here.children(recursive=True))
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    )


def answers(ports: list[int], keys: Any = None) -> dict[tuple[int, str], str]:
    """Return the answer of each port, by port and protocol, to another process.

    The process uses the given keys, or keys of its own. If the test runs as root, the process runs as another user.
    """
    secret = {"key": "", "certificate": ""}
    if keys is not None:
        secret = {"key": keys.tls_client_key, "certificate": keys.tls_client_cert}
    result = subprocess.run(
        [sys.executable, "-c", STRANGER],
        input=json.dumps({"ports": ports, **secret}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    return {(port, how): said for (port, how), said in json.loads(result.stdout)}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect("local", workers=1, dashboard_address="127.0.0.1:0") as client:
        yield client


def test_every_port_refuses_processes_without_keys(client: Client) -> None:
    ports = listening_ports()
    assert int(client.scheduler.address.rpartition(":")[2]) in ports
    said = answers(ports)
    assert len(said) == 2 * len(ports)
    assert all(words.startswith("refused") for words in said.values()), said


def test_ports_accept_a_process_with_the_keys_of_the_cluster(client: Client) -> None:
    """The same attempt succeeds with the right keys, which shows that the keys alone decide."""
    said = answers(listening_ports(), client.security)
    assert {"Scheduler", "Worker", "Nanny"} <= set(said.values())
