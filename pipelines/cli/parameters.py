"""Kinds of option values that click does not have: ranges, and lists and help texts that another module knows.

A list of formats stands in the module that reads or writes them. It is imported when a command's help is shown or
its option is used, so that ``lls-decode --help`` stays quick; so are the names that a shell completes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from lls_decode.config import MovieConfig, TrainingConfig, load
from lls_decode.errors import ConfigError
from lls_decode.models import shipped
from lls_decode.pipelines.planning.index_range import parse_extent, parse_limits, parse_pair, parse_range, parse_roi

if TYPE_CHECKING:  # generic only in recent versions of click
    ParamType = click.ParamType[Any, Any]
    Choice = click.Choice[str]
else:
    ParamType, Choice = click.ParamType, click.Choice


def _option_name(param: click.Parameter | None) -> str:
    return param.opts[0] if param is not None else "range"


class IndexRangeType(ParamType):
    """``START:STOP``, the end excluded, as (start, stop) with None for an open end."""

    name = "START:STOP"

    def __init__(self, *, from_end: bool = False) -> None:
        self._from_end = from_end
        """Negative numbers count from the end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse what was typed."""
        if not isinstance(value, str):
            return value
        return parse_range(value, option=_option_name(param), from_end=self._from_end)


class LimitsType(ParamType):
    """``LOW:HIGH`` of a measured quantity, as two numbers."""

    name = "LOW:HIGH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse what was typed."""
        return parse_limits(value, option=_option_name(param)) if isinstance(value, str) else value


class ExtentType(ParamType):
    """``auto``, ``all``, or ``X0:X1,Y0:Y1``, limits of a picture in nm."""

    name = "auto|all|X0:X1,Y0:Y1"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse what was typed."""
        return parse_extent(value, option=_option_name(param)) if isinstance(value, str) else value


class RoiType(ParamType):
    """``X0:X1,Y0:Y1`` in pixels, the ends excluded, as the value of ``part.roi``."""

    name = "X0:X1,Y0:Y1"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse what was typed."""
        return parse_roi(value, option=_option_name(param)) if isinstance(value, str) else value


class PairType(ParamType):
    """Two whole numbers, along x and along y."""

    def __init__(self, name: str, separator: str, *, smallest: int | None = None) -> None:
        self.name = name
        """How the pair is shown in help texts."""
        self._separator, self._smallest = separator, smallest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse what was typed."""
        if not isinstance(value, str):
            return value
        return parse_pair(value, option=_option_name(param), separator=self._separator, smallest=self._smallest)


class NameOrPath(ParamType):
    """Text that is a known name or a path: a shell completes both."""

    name = "text"

    def __init__(self, load: Callable[[], Iterable[str]] = tuple) -> None:
        self._load = load
        """Gives the names, asked for when a shell completes."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """List the names that begin with what was typed; files come from the shell itself."""
        # the entry for files first: in click's script for bash it empties the list
        names = [name for name in self._load() if name.startswith(incomplete)]
        return [CompletionItem(incomplete, type="file"), *map(CompletionItem, names)]


def _sites() -> Iterable[str]:
    from lls_decode.cluster.site import shipped_profiles

    return shipped_profiles()


def _configs(kind: type[MovieConfig] | type[TrainingConfig]) -> Iterator[str]:
    """Names of the shipped configurations that are of a kind."""
    for name, path in shipped(".yaml").items():
        try:
            load(kind, path)
        except ConfigError:
            continue
        yield name


ANY_PATH = NameOrPath()
"""Path of a file or folder, a pattern, or an address of a dataset."""
MODEL = NameOrPath(lambda: shipped(".lls"))
SITE = NameOrPath(_sites)
TRAINING_CONFIG = NameOrPath(lambda: _configs(TrainingConfig))
MOVIE_CONFIG = NameOrPath(lambda: _configs(MovieConfig))
ANY_CONFIG = NameOrPath(lambda: ("run", *shipped(".yaml")))


class LazyChoice(Choice):
    """A choice between names that are imported when they are needed."""

    def __init__(self, load: Callable[[], Sequence[str]]) -> None:
        self._load = load
        super().__init__(())

    @property
    def choices(self) -> tuple[str, ...]:
        """The names."""
        return tuple(self._load())

    @choices.setter
    def choices(self, value: tuple[str, ...]) -> None:
        """Ignore the empty list that `click.Choice` sets."""


class LazyHelpOption(click.Option):
    """An option whose help text is made when it is shown."""

    def __init__(self, *args: Any, make_help: Callable[[], str], **more: Any) -> None:
        self._make_help = make_help
        super().__init__(*args, **more)

    @property
    def help(self) -> str | None:
        """The help text."""
        return self._make_help()

    @help.setter
    def help(self, value: str | None) -> None:
        """Ignore the empty text that `click.Option` sets."""


class LazyHelpCommand(click.Command):
    """A command whose help text has ``{formats}``, filled in when it is shown."""

    def __init__(self, *args: Any, formats: Callable[[], str], **more: Any) -> None:
        self._formats = formats
        self._template = ""
        super().__init__(*args, **more)

    @property
    def help(self) -> str | None:
        """The help text."""
        return self._template.replace("{formats}", self._formats())

    @help.setter
    def help(self, value: str | None) -> None:
        self._template = value or ""
