"""Figures with matplotlib, which is imported only for drawing, and without pyplot: no global state, no display."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lls_decode.errors import ConfigError
from lls_decode.outputs import PROGRAM


def need_matplotlib(who: str) -> None:
    """Raise before any long work if matplotlib is not installed.

    Parameters
    ----------
    who
        Beginning of the error message, with a verb, e.g. "Pictures need".

    Raises
    ------
    ConfigError
        matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{who} matplotlib; run: pip install 'lls-decode[report]'.") from error


def can_draw() -> bool:
    """Return whether matplotlib is installed, for callers that otherwise skip the picture."""
    return find_spec("matplotlib") is not None


def new_figure(who: str, wide_inches: float, tall_inches: float, **options: Any) -> Any:
    """Return an empty ``matplotlib.figure.Figure``; ``options`` are passed to it.

    Raises
    ------
    ConfigError
        As `need_matplotlib`.
    """
    need_matplotlib(who)
    from matplotlib.figure import Figure

    return Figure(figsize=(wide_inches, tall_inches), **options)


def save_png(figure: Any, path: Path, **options: Any) -> None:
    """Save a figure as PNG, marked with the program that wrote it so that `lls_decode.table.marks` recognizes it."""
    figure.savefig(path, format="png", metadata={"Software": PROGRAM}, **options)
