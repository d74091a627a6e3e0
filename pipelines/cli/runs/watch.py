"""Commands that show a run without changing it: status, watch."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lls_decode.pipelines.cli.options import echo, echo_json, json_option

if TYPE_CHECKING:
    from lls_decode.pipelines.status.reader import RunReader

WATCH_S = 2.0


@click.command(epilog="Example: lls-decode status results/ --watch")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--watch",
    is_flag=True,
    help="Refresh every 2 seconds until the run is over; with --json, print one line each time.",
)
@json_option
def status(out: Path, watch: bool, as_json: bool) -> None:
    """Show the status of the run in OUT. Reads only its files, so it works on any machine that can see them."""
    from lls_decode.pipelines.status.reader import RunReader

    reader = RunReader(out)
    if watch:
        _watch(reader, as_json=as_json)
    elif as_json:
        echo_json(reader.read().to_dict())
    else:
        echo("\n".join(reader.read().describe()))


def _watch(reader: "RunReader", *, as_json: bool) -> None:
    """Show the status of a run until nothing works on it any more; on a terminal, update the text in place."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    with Live(console=console, auto_refresh=False) as live:
        while True:
            found = reader.read()
            if as_json:
                echo(json.dumps(found.to_dict()))
            elif console.is_terminal:
                live.update(Text("\n".join(found.describe())), refresh=True)
            else:
                echo("\n".join([*found.describe(), ""]))
            if found.owner is None:
                return
            time.sleep(WATCH_S)


@click.command(short_help="Serve a web page that shows a run.", epilog="Example: lls-decode watch results/ --port 8788")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--port",
    default=8788,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 for any free port.",
)
@click.option(
    "--address",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; any address but the default lets others see the run.",
)
@click.option(
    "--origin", "origins", multiple=True, metavar="HOST",
    help="Host name of a proxy that serves the page, e.g. ondemand.example.org. Repeat for several hosts.",
)  # fmt: skip
def watch(out: Path, port: int, address: str, origins: tuple[str, ...]) -> None:
    """Serve a web page that shows the run in OUT, and metrics for Prometheus (/metrics).

    Reads only the files of the run. The Dask dashboard of a run shows the same page under /lls-decode. Ctrl-C stops the
    server and does not affect the run. The page also works behind proxies that serve a port under a path (JupyterHub,
    Open OnDemand); name their host with --origin.
    """
    from lls_decode.cluster.addresses import hub_host, hub_path, tunnel_to
    from lls_decode.pipelines.watch.serving import serve

    hub = hub_host()
    with serve(out, port=port, address=address, origins=[*origins, *([hub] if hub else [])]) as server:
        echo(server.link)
        if (path := hub_path(server.link)) is not None:
            echo(f"through JupyterHub: {path}")
        if (way := tunnel_to(server.link)) is not None:
            echo(f"from a laptop: {way}")
        server.loop.start()
