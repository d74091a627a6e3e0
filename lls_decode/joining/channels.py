"""Mapping from the channels of each table to those of the joined table."""

from collections.abc import Sequence
from dataclasses import dataclass

from lls_decode.errors import ConfigError
from lls_decode.joining.member import Member
from lls_decode.table import ChannelInfo

_Key = tuple[object, ...]
"""Key that identifies a channel: its name and wavelengths if known, else its origin."""


@dataclass(frozen=True)
class ChannelMap:
    """Channels of a joined table."""

    numbers: tuple[dict[int, int], ...]
    """For each table, numbers in the joined table by the table's own numbers (0 if it has no channel column)."""
    channels: tuple[ChannelInfo, ...]
    """Channels of the joined table by number; empty if nothing is known of any of them."""
    has_column: bool


def map_channels(members: Sequence[Member], *, names: Sequence[str] | None, same_frames: bool) -> ChannelMap:
    """Assign numbers in the joined table: the same one to identical channels, others to different channels.

    Parameters
    ----------
    names
        Channel name of each table, which must have a single channel; equal names are one channel. None: taken from the
        tables.
    same_frames
        Whether the tables have the same frames. Their channels then differ, unless ``names`` gives them the same name.

    Raises
    ------
    ConfigError
        It is not known which channels are the same.
    """
    known = _given(members, names) if names is not None else _stated(members, same_frames)
    if names is None and same_frames:
        _check_different(members, known)
    taken: dict[_Key, int] = {}
    infos: dict[int, ChannelInfo] = {}
    numbers = []
    for place, channels in enumerate(known):
        mine = {}
        for own, (key, info) in channels.items():
            if key not in taken:  # channels of the first table keep their numbers
                taken[key] = own if place == 0 else max(taken.values(), default=-1) + 1
            mine[own] = taken[key]
            infos.setdefault(taken[key], info)
        numbers.append(mine)
    last = max(taken.values(), default=-1)
    named = tuple(infos.get(number, ChannelInfo()) for number in range(last + 1))
    has_column = len(taken) > 1 or any(member.channels is not None for member in members)
    return ChannelMap(tuple(numbers), named if any(info != ChannelInfo() for info in named) else (), has_column)


def _given(members: Sequence[Member], names: Sequence[str]) -> list[dict[int, tuple[_Key, ChannelInfo]]]:
    if len(names) != len(members):
        raise ConfigError(
            f"{len(names)} names of channels (--channels) were given for {len(members)} tables; give one for each."
        )
    found: list[dict[int, tuple[_Key, ChannelInfo]]] = []
    for member, name in zip(members, names, strict=True):
        if member.channels is not None:
            raise ConfigError(
                f"{member.path} has several channels, which cannot be given one name; omit --channels, or keep "
                "one of them first ('lls-decode filter --where channel=0')."
            )
        stated = member.metadata.channels[0] if member.metadata.channels else ChannelInfo()
        found.append({0: ((name,), stated.replace(name=name))})
    return found


def _stated(members: Sequence[Member], same_frames: bool) -> list[dict[int, tuple[_Key, ChannelInfo]]]:
    found = []
    for place, member in enumerate(members):
        infos = member.metadata.channels
        own = {0} if member.channels is None else {*member.channels, *range(len(infos))}
        mine: dict[int, tuple[_Key, ChannelInfo]] = {}
        for number in sorted(own):
            info = infos[number] if number < len(infos) else ChannelInfo()
            nameless: _Key = (place if same_frames else None, member.channels is not None, number)
            key = nameless if info == ChannelInfo() else (info.name, info.excitation_nm, info.emission_nm)
            mine[number] = (key, info)
        found.append(mine)
    if not same_frames:
        _check_told(members, found)
    return found


def _check_told(members: Sequence[Member], found: Sequence[dict[int, tuple[_Key, ChannelInfo]]]) -> None:
    """Refuse to join if some tables name their channel and others do not, since these may or may not be the same."""
    told = [any(info != ChannelInfo() for _, info in channels.values()) for channels in found]
    columns = [member.channels is not None for member in members]
    if all(told) or (not any(told) and len(set(columns)) == 1):
        return
    silent = told.index(False) if any(told) else columns.index(False)
    other = told.index(True) if any(told) else columns.index(True)
    raise ConfigError(
        f"{members[silent].path} does not state its channel, but {members[other].path} does; name the channel of "
        "each table (--channels NAME,NAME)."
    )


def _check_different(members: Sequence[Member], found: Sequence[dict[int, tuple[_Key, ChannelInfo]]]) -> None:
    seen: dict[_Key, Member] = {}
    for member, channels in zip(members, found, strict=True):
        for number, (key, info) in channels.items():
            if key in seen and seen[key] is not member:
                raise ConfigError(
                    f"{member.path} and {seen[key].path} both have channel {info.label(number)!r} of the same "
                    "frames; name the channel of each (--channels NAME,NAME), or omit --same-frames."
                )
            seen[key] = member
