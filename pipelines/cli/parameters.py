"""Parameter types that click lacks: ranges, and choices and help texts that are loaded on demand.

Lists of formats are defined in the modules that read or write them. They are imported only when a command's help is
shown, its option is used, or a shell completes a name, so that ``lls-decode --help`` stays fast.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from lls_decode.config import OTHER_DEVICES, MovieConfig, TrainingConfig, load
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
    """Index range ``START:STOP``, end excluded; gives (start, stop) with None for an open end."""

    name = "START:STOP"

    def __init__(self, *, from_end: bool = False) -> None:
        self._from_end = from_end
        """Whether negative numbers count from the end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text of an option."""
        if not isinstance(value, str):
            return value
        return parse_range(value, option=_option_name(param), from_end=self._from_end)


class LimitsType(ParamType):
    """Limits ``LOW:HIGH`` of a physical quantity; gives two numbers."""

    name = "LOW:HIGH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text of an option."""
        return parse_limits(value, option=_option_name(param)) if isinstance(value, str) else value


class ExtentType(ParamType):
    """Extent of a picture: ``auto``, ``all``, or limits ``X0:X1,Y0:Y1`` in nm."""

    name = "auto|all|X0:X1,Y0:Y1"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text of an option."""
        return parse_extent(value, option=_option_name(param)) if isinstance(value, str) else value


class RoiType(ParamType):
    """Region of interest ``X0:X1,Y0:Y1`` in pixels, ends excluded; gives the value of ``part.roi``."""

    name = "X0:X1,Y0:Y1"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text of an option."""
        return parse_roi(value, option=_option_name(param)) if isinstance(value, str) else value


class PairType(ParamType):
    """Pair of integers, along x and along y."""

    def __init__(self, name: str, separator: str, *, smallest: int | None = None) -> None:
        self.name = name
        """Notation of the pair in help texts."""
        self._separator, self._smallest = separator, smallest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text of an option."""
        if not isinstance(value, str):
            return value
        return parse_pair(value, option=_option_name(param), separator=self._separator, smallest=self._smallest)


class NameOrPath(ParamType):
    """Text that is a known name or a path; shells complete both."""

    name = "text"

    def __init__(self, load: Callable[[], Iterable[str]] = tuple) -> None:
        self._load = load
        """Function that returns the known names; called only for shell completion."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the names that start with the typed text; the shell itself completes file names."""
        # the entry for files comes first: click's bash script clears the list when it meets that entry
        names = [name for name in self._load() if name.startswith(incomplete)]
        return [CompletionItem(incomplete, type="file"), *map(CompletionItem, names)]


def _sites() -> Iterable[str]:
    from lls_decode.cluster.site import shipped_profiles

    return shipped_profiles()


def _configs(kind: type[MovieConfig] | type[TrainingConfig]) -> Iterator[str]:
    """Yield the names of the shipped configurations of one kind."""
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


class DeviceType(Choice):
    """Device that the network runs on; says why devices that users may expect are refused."""

    def __init__(self) -> None:
        super().__init__(("auto", "cpu", "cuda"))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name of the device."""
        if value in OTHER_DEVICES:
            self.fail(f"{value!r}: {OTHER_DEVICES[value]}.", param, ctx)
        return super().convert(value, param, ctx)


class LazyChoice(Choice):
    """Choice whose names are loaded when they are needed."""

    def __init__(self, load: Callable[[], Sequence[str]]) -> None:
        self._load = load
        super().__init__(())

    @property
    def choices(self) -> tuple[str, ...]:
        """Names to choose from."""
        return tuple(self._load())

    @choices.setter
    def choices(self, value: tuple[str, ...]) -> None:
        """Ignore the empty list that `click.Choice` sets."""


class LazyHelpOption(click.Option):
    """Option whose help text is made when the help is shown."""

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
    """Command whose help text contains ``{formats}``, which is filled in when the help is shown."""

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
