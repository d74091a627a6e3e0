"""Options, output and client setup shared by several commands."""

import functools
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lls_decode.config import Config, PixelSize, change, check_camera_pixel, parse
from lls_decode.documents import DocumentError, parse_yaml
from lls_decode.errors import ConfigError

from .parameters import SITE, DeviceType

if TYPE_CHECKING:
    from distributed import Client

    from lls_decode.cluster.profile import SiteProfile
    from lls_decode.evaluate import Score
    from lls_decode.pipelines.journal.events import Listener

Command = Callable[..., Any]


def site_options(command: Command) -> Command:
    """Add ``--site``, ``--workers`` and ``--memory-limit`` to a command."""
    for option in (
        click.option("--memory-limit", help="Memory per worker, e.g. '8 GiB'.  [default: set by the site]"),
        click.option(
            "--workers",
            type=click.IntRange(1),
            help="Number of worker processes or worker jobs.  [default: set by the site]",
        ),
        click.option(
            "--site",
            type=SITE,
            default="local",
            show_default=True,
            help="Where to run: a name from 'lls-decode cluster list', a profile (.yaml), or a scheduler (tcp://HOST:PORT).",
        ),
    ):
        command = option(command)
    return command


def match_options(command: Command) -> Command:
    """Add ``--lateral-nm`` and ``--axial-nm``, the largest distances of a match, to a command."""
    for name, default in (("axial", 500.0), ("lateral", 250.0)):
        option = click.option(
            f"--{name}-nm",
            type=click.FloatRange(0, min_open=True),
            default=default,
            show_default=True,
            help=f"Largest {name} distance of a match, nm.",
        )
        command = option(command)
    return command


set_option = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set one value of the configuration, e.g. --set detection.accept=0.8. Repeat for several values.",
)
device_option = click.option(
    "--device",
    type=DeviceType(),
    default="auto",
    show_default=True,
    help="Where the network runs; auto uses a GPU if there is one.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def like_option(command: Command) -> Command:
    """Add ``--like`` to a command that reads tables."""

    @functools.wraps(command)
    def with_like(like: Path | None, **given: Any) -> Any:
        from lls_decode.table import described_like

        with described_like(like):
            return command(**given)

    return click.option(
        "--like",
        type=click.Path(path_type=Path),
        metavar="TABLE",
        help="lls-decode table to take geometry, pixel size etc. from, if another program has dropped them.",
    )(with_like)


@contextmanager
def open_client(
    site: "str | SiteProfile", workers: int | None, memory_limit: str | None, out: Path, *, driver: bool = False
) -> "Iterator[tuple[Client, Listener]]":
    """Open a client of a site and report the progress of the run."""
    from lls_decode.pipelines.status.progress import show_progress

    with open_site(site, workers, memory_limit, out, driver=driver) as client:
        show_page(client, out)
        with show_progress() as listener:
            yield client, listener


def show_page(client: "Client", out: Path) -> None:
    """Add the page of a run to the dashboard of its scheduler, and log the page's address."""
    from lls_decode.cluster.addresses import hub_path
    from lls_decode.pipelines.watch.serving import attach

    link = attach(client, out)
    if link is not None:
        logging.getLogger(__name__).info("this run: %s", hub_path(link) or link)


@contextmanager
def open_site(
    site: "str | SiteProfile", workers: int | None, memory_limit: str | None, out: Path, *, driver: bool = False
) -> "Iterator[Client]":
    """Open a client of a site and log the dashboard's address. Termination signals shut the site down in order."""
    from lls_decode.cluster.site import connect, drive
    from lls_decode.pipelines.running.interrupts import interruptible

    # show the INFO messages of distributed only with --verbose
    logging.getLogger("distributed").setLevel(logging.getLogger().level + logging.INFO)
    if driver:
        opened = drive(site, out, workers=workers)
    else:
        opened = connect(site, workers=workers, memory_limit=memory_limit, folder=out)
    with interruptible(), opened as client:
        yield client


C = TypeVar("C", bound=Config)


def changed(config: C, changes: tuple[str, ...]) -> C:
    """Return a configuration changed by ``a.b=value`` items of ``--set``."""
    return change(config, read_changes(changes), source="--set")


def read_changes(changes: tuple[str, ...]) -> dict[str, Any]:
    """Return the values of ``a.b=value`` items by dotted key, each parsed as YAML."""
    found = {}
    for item in changes:
        key, separator, text = item.partition("=")
        if not separator:
            raise ConfigError(f"--set {item}: expected KEY=VALUE, e.g. --set execution.block_frames=256.")
        try:
            found[key] = parse_yaml(text)
        except DocumentError as error:
            raise ConfigError(f"--set {item[:200]}: the value of {key[:100]} cannot be read ({error}).") from error
    return found


def chosen_device(name: str) -> Any:
    """Return the torch device that ``--device`` names."""
    from lls_decode.config import ComputeConfig
    from lls_decode.localize.build import choose_device

    return choose_device(parse(ComputeConfig, {"device": name}, source="--device"))


def printable(text: str, *, kept: str = "") -> str:
    """Return a text with control characters escaped, except ``kept``, so that it cannot change the terminal.

    Names of files and contents of metadata may hold escape sequences, line breaks, and bytes that are not text.
    """
    return "".join(sign if sign.isprintable() or sign in kept else repr(sign)[1:-1] for sign in text)


def echo(text: object, *, err: bool = False, nl: bool = True, kept: str = "\n") -> None:
    """Print a text by `printable`."""
    click.echo(printable(str(text), kept=kept), err=err, nl=nl)


class PrintableFormatter(logging.Formatter):
    """Formatter of log records that passes the texts through `printable`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return printable(super().format(record), kept="\n\t")


def echo_json(value: Any) -> None:
    """Print a value as JSON."""
    echo(json.dumps(value, indent=1, default=str))


@contextmanager
def progress_bar(label: str) -> "Iterator[Callable[[int, int], None]]":
    """Show a progress bar on a terminal; yield a function that takes the number done and the total number."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:  # older versions of rich print an empty line at the end even of a disabled bar
        yield lambda done, total: None
        return
    with Progress(console=console) as progress:
        task = progress.add_task(label)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def square_pixel(pixel_nm: float | None) -> PixelSize | None:
    """Return the size of a square pixel given by ``--pixel-nm``; None if the option is not given."""
    return None if pixel_nm is None else camera_pixel(pixel_nm, pixel_nm)


def camera_pixel(x_nm: float, y_nm: float) -> PixelSize:
    """Return the camera pixel size given by ``--pixel-nm``.

    Raises
    ------
    ConfigError
        The value looks like micrometres.
    """
    try:
        return check_camera_pixel(parse(PixelSize, {"x_nm": x_nm, "y_nm": y_nm}, source="--pixel-nm"))
    except ValueError as error:
        raise ConfigError(f"--pixel-nm: {error}.") from None


def echo_score(score: "Score", *, has_z: bool = True) -> None:
    """Print an `lls_decode.evaluate.Score` in five lines; omit axial values unless `has_z`."""
    s = score.to_dict()
    echo(f"truth {s['num_truth']}, found {s['num_found']}, matched {s['true_positives']}")
    for label, names in (
        ("detection", ("jaccard", "precision", "recall")),
        ("precision, nm", ("rmse_lateral_nm", "rmse_x_nm", "rmse_y_nm", "rmse_axial_nm")),
        ("efficiency", ("efficiency", "efficiency_lateral", "efficiency_axial")),
        ("error / sigma", ("zscore_x", "zscore_y", "zscore_z", "zscore_photons")),
    ):
        values = "  ".join(f"{name} {s[name]:.3g}" for name in names if _is_told(name, s[name], has_z))
        echo(f"{label:<14} {values}")


def _is_told(name: str, value: float | int | None, has_z: bool) -> bool:
    """Return whether to print a value: it is known, and it is not an axial value of data without z."""
    return value is not None and (has_z or not ("axial" in name or name.endswith("_z")))
