"""matplotlib, asked for when a picture is drawn and not before; without pyplot: no global state, no display."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lls_decode.errors import ConfigError
from lls_decode.outputs import PROGRAM


def need_matplotlib(who: str) -> None:
    """Refuse a picture before anything long is done for it.

    Parameters
    ----------
    who
        What needs it, with its verb: begins the sentence of the error.

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
    """Whether matplotlib is installed, for those who go on without a picture."""
    return find_spec("matplotlib") is not None


def new_figure(who: str, wide_inches: float, tall_inches: float, **options: Any) -> Any:
    """An empty ``matplotlib.figure.Figure``; ``options`` are its own.

    Raises
    ------
    ConfigError
        As `need_matplotlib`.
    """
    need_matplotlib(who)
    from matplotlib.figure import Figure

    return Figure(figsize=(wide_inches, tall_inches), **options)


def save_png(figure: Any, path: Path, **options: Any) -> None:
    """Save a figure as PNG that says which program made it: by that `lls_decode.table.marks` knows it again."""
    figure.savefig(path, format="png", metadata={"Software": PROGRAM}, **options)
