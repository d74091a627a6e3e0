"""Commands that look at a run and leave it alone: status, watch."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lls_decode.pipelines.cli.options import echo_json, json_option

if TYPE_CHECKING:
    from lls_decode.pipelines.status.reader import RunReader

WATCH_S = 2.0


@click.command(epilog="Example: lls-decode status results/ --watch")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--watch", is_flag=True, help="Every 2 seconds until the run is over; with --json a line each time.")
@json_option
def status(out: Path, watch: bool, as_json: bool) -> None:
    """Say how the run in OUT stands, from its files alone: from any machine that sees them."""
    from lls_decode.pipelines.status.reader import RunReader

    reader = RunReader(out)
    if watch:
        _watch(reader, as_json=as_json)
    elif as_json:
        echo_json(reader.read().to_dict())
    else:
        click.echo("\n".join(reader.read().describe()))


def _watch(reader: "RunReader", *, as_json: bool) -> None:
    """Show how a run stands until nobody works at it; on a terminal in one place."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    with Live(console=console, auto_refresh=False) as live:
        while True:
            found = reader.read()
            if as_json:
                click.echo(json.dumps(found.to_dict()))
            elif console.is_terminal:
                live.update(Text("\n".join(found.describe())), refresh=True)
            else:
                click.echo("\n".join([*found.describe(), ""]))
            if found.owner is None:
                return
            time.sleep(WATCH_S)


@click.command(epilog="Example: lls-decode watch results/ --port 8788")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--port", default=8788, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@click.option(
    "--address",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen; at any other address, others see the run.",
)
@click.option(
    "--origin", "origins", multiple=True, metavar="HOST",
    help="Proxy through which the page is opened, e.g. ondemand.example.org; may be given again.",
)  # fmt: skip
def watch(out: Path, port: int, address: str, origins: tuple[str, ...]) -> None:
    """Serve a page that shows the run in OUT, from its files alone, and its figures for Prometheus (/metrics).

    The same page is in the Dask dashboard of a run, under /lls-decode. Ctrl-C ends it; the run is left alone. Proxies
    that show a port under a path (JupyterHub, Open OnDemand) show the page too; name their host with --origin.
    """
    from lls_decode.cluster.addresses import hub_host, hub_path, tunnel_to
    from lls_decode.pipelines.watch.serving import serve

    hub = hub_host()
    with serve(out, port=port, address=address, origins=[*origins, *([hub] if hub else [])]) as server:
        click.echo(server.link)
        if (path := hub_path(server.link)) is not None:
            click.echo(f"through JupyterHub: {path}")
        if (way := tunnel_to(server.link)) is not None:
            click.echo(f"from a laptop: {way}")
        server.loop.start()
