"""Selection and order of the stores of a folder or glob that form one dataset, by their names."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from lls_decode.addresses import is_address
from lls_decode.config import StorageConfig
from lls_decode.errors import InputError, shell_command
from lls_decode.frames.storage.stores import DEFAULT_STORAGE, has_magic
from lls_decode.naming.choices import NameChoices
from lls_decode.naming.names import names_of, split_suffix
from lls_decode.naming.series import Found, Ways, common_pattern, find_names


@dataclass(frozen=True)
class Joined:
    """Stores of one dataset, in order, and what their names say."""

    paths: tuple[str, ...]
    found: Found


def join_stores(
    path: str,
    listed: Sequence[str],
    choices: NameChoices,
    ways: Ways | None = None,
    storage: StorageConfig = DEFAULT_STORAGE,
) -> Joined:
    """Select and order the stores of one dataset among those that a folder or glob refers to.

    Parameters
    ----------
    path
        The folder or glob.
    listed
        Its stores.
    choices
        Options that resolve ambiguities.
    ways
        What messages advise; None: globs.

    Raises
    ------
    InputError
        The names of the stores have several positions, channels or forms, or numbers that are missing or ambiguous.
    """
    named = dict(zip(names_of(listed), listed, strict=True))
    name, store = next(iter(named.items()))
    told = path.rstrip("/").rpartition("/")[2] if has_magic(path, storage) else ""
    found = find_names(
        path, list(named), choices, ways=ways or _Globs(path, store.rstrip("/").removesuffix(name)), told=told
    )
    return Joined(tuple(named[name] for name in found.names), found)


def join_leading_stores(path: str, listed: Sequence[str], choices: NameChoices) -> Joined:
    """Select the longest beginning of the stores that has no gap and no second series.

    Raises
    ------
    InputError
        Not even the first store can be read by itself.
    """
    best = join_stores(path, listed[:1], choices)
    least, most = 1, len(listed)
    while least < most:
        middle = most if most == len(listed) else (least + most + 1) // 2  # usually, all stores belong together
        try:
            best, least = join_stores(path, listed[:middle], choices), middle
        except InputError:
            most = middle - 1
    return best


@dataclass(frozen=True)
class _Globs:
    """The advice for commands that read stores where they are: a glob instead of the folder."""

    path: str
    base: str
    """Beginning of the paths of all stores, in front of their names."""
    noun: str = "stores"

    def choose(self, wanted: Sequence[str], names: Sequence[str]) -> str:
        """Advise a glob that matches only the wanted stores, or to move the others if there is no such glob."""
        pattern = _find_glob(wanted, names)
        if pattern is None:
            return "by moving the others to another folder"
        base = self.base if is_address(self.base) else glob.escape(self.base)
        return f"by a pattern in quotes: '{base}{pattern}'"

    def choose_value(self, what: str, wanted: Sequence[str], names: Sequence[str]) -> str:
        """Advise a glob that matches the stores of one channel or position."""
        return f"choose one, e.g. {self.choose(wanted, names)}"

    def leave_out(self, name: str, names: Sequence[str]) -> str:
        """Advise to move a store."""
        return f"by moving {name} to another folder"

    def count_by(self, pattern: str) -> str:
        """Advise a conversion, which can be told what the numbers mean."""
        command = shell_command("convert", self.path, "COPY.zarr", "--pattern", pattern)
        return f"rename the stores, or make a copy in the order of the number that counts time, {{t}}: {command}"

    def accept_gaps(self) -> str:
        """Advise ``--allow-gaps``."""
        return "read the others as if nothing were missing with --allow-gaps (input.allow_gaps: true)"


def _find_glob(wanted: Sequence[str], names: Sequence[str]) -> str | None:
    """Return a glob that matches the wanted names and no others, or None."""
    first = common_pattern(wanted, "*")
    digits = common_pattern(wanted, "[0-9]*")
    suffix = split_suffix(wanted[0])[1]
    for pattern in (first, digits, f"{first.partition('*')[0]}*{suffix}"):
        if {name for name in names if _matches(name, pattern)} == set(wanted):
            return pattern
    return None


def _matches(name: str, pattern: str) -> bool:
    """Return whether a name matches a glob, whose wildcards do not match slashes."""
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))
