"""Reader of YAML and JSON with limits on bytes, depth and values, so that no file can exhaust time or memory.

All errors are `OSError` (the file cannot be read, or is not a regular file) or `DocumentError`, a `ValueError` (invalid
content). Their messages say what was found. The caller adds which file was expected, and raises its own error.
"""

import codecs
import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final
from zipfile import ZipFile

import yaml

MOST_DOCUMENT_BYTES: Final = 64 << 20
"""Largest document in bytes, enough for consolidated zarr metadata of 50 000 arrays; records are far smaller."""
MOST_HEAD_BYTES: Final = 1 << 20
"""Largest number of bytes that are read to find the header of a table; headers have a few kilobytes."""
MOST_TEXT_BYTES: Final = 16 << 20
"""Largest text file of a microscope's settings in bytes."""
MOST_JSON_VALUES: Final = 4_000_000
"""Largest number of values of a JSON document; each takes about 70 bytes of memory, together 300 MB."""
MOST_YAML_BYTES: Final = 4 << 20
"""Largest YAML document in bytes. Configurations have a few kilobytes, metadata of Picasso simulations a few hundred;
four megabytes take some seconds to read."""
MOST_YAML_VALUES: Final = 100_000
"""Largest number of values of a YAML document, counting values repeated by aliases each time."""
MOST_LEVELS: Final = 100
"""Largest depth of nesting; documents of lls-decode have ten levels, and pydantic fails at 200."""
_PIECE_BYTES: Final = 1 << 16
"""Number of bytes in one call of ``read``: Python reserves memory for all of them, even if the file is shorter."""
_LONGEST_NUMBER: Final = 1000
"""Largest number of characters of a number in YAML, because conversion time grows with the square of the length."""

_NUMBER: Final = re.compile(r"[-+.:_\da-fA-FxX]+")

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, if libyaml is installed
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SPECIAL: Final = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_CONSTRUCTORS_RAISE: Final = (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError)
"""Exceptions of PyYAML for values that contradict their tag, such as ``!!timestamp soon``."""


class DocumentError(ValueError):
    """Raised for a document that is not valid text, YAML or JSON, or that exceeds a limit of this module."""


def special_kind(path: str | Path) -> str | None:
    """Return the kind of a path that is neither a file nor a folder, e.g. "a socket"; None otherwise."""
    try:
        return special_mode(os.stat(path).st_mode)
    except (OSError, ValueError):
        return None


def special_mode(mode: int) -> str | None:
    """Return the kind that a mode of ``os.stat`` states, as `special_kind`."""
    return next((name for is_kind, name in _SPECIAL if is_kind(mode)), None)


def open_regular_file(path: str | Path) -> IO[bytes]:
    """Open a regular file for reading bytes; refuse pipes and devices, from which reading may block or never end.

    Raises
    ------
    OSError
        The path is missing, not readable, or not a regular file.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    kind = special_kind(path)
    if kind is not None:
        raise OSError(errno.EINVAL, f"it is {kind}, expected a file", str(path))
    descriptor = os.open(path, flags)
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: str | Path, *, most: int = MOST_DOCUMENT_BYTES) -> bytes:
    """Read the contents of a regular file.

    Raises
    ------
    OSError
        As `open_regular_file`.
    DocumentError
        The file has more than ``most`` bytes.
    """
    data = _first_bytes(path, most + 1)
    if len(data) > most:
        raise DocumentError(f"it has more than {most / 1e6:.0f} MB, which no file of its kind has")
    return data


def _first_bytes(path: str | Path, most: int) -> bytes:
    """Return the first ``most`` bytes of a regular file, or all bytes if it has fewer."""
    data = bytearray()
    with open_regular_file(path) as file:
        while piece := file.read(min(_PIECE_BYTES, most - len(data))):
            data += piece
    return bytes(data)


def read_text(path: str | Path, *, most: int = MOST_DOCUMENT_BYTES) -> str:
    """Read a regular file as text: UTF-8, or UTF-16 and UTF-32 with a byte order mark.

    Raises
    ------
    OSError, DocumentError
        As `read_bytes`, or the text has another encoding.
    """
    return decode_text(read_bytes(path, most=most))


def read_loose_text(path: str | Path) -> str:
    """Read a text file of a microscope's settings; bytes that are not text become U+FFFD.

    The encoding is UTF-8, or the one that a byte order mark states.

    Raises
    ------
    OSError, DocumentError
        The file cannot be read, is not a regular file, or is larger than `MOST_TEXT_BYTES`.
    """
    data = read_bytes(path, most=MOST_TEXT_BYTES)
    return data.decode(_encoding(data), errors="replace")


def read_head(path: str | Path) -> str:
    """Read the first lines of a text file, at most `MOST_HEAD_BYTES`; the last line is complete.

    Raises
    ------
    OSError, DocumentError
        As `read_text`, or the first line is longer than that.
    """
    data = _first_bytes(path, MOST_HEAD_BYTES + 1)
    if len(data) > MOST_HEAD_BYTES:
        data = data[: data.rfind(b"\n") + 1]
        if not data:
            raise DocumentError(f"its first line has more than {MOST_HEAD_BYTES / 1e6:.0f} MB")
    return decode_text(data)


def _encoding(data: bytes) -> str:
    """Return the encoding that the byte order mark of a text states; UTF-8 without a mark."""
    return next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")


def decode_text(data: bytes) -> str:
    """Decode bytes as text, as `read_text`."""
    encoding = _encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DocumentError(
            f"it is not encoded as {encoding.removesuffix('-sig').upper()} (byte 0x{data[error.start]:02x} in line "
            f"{line}); save it as UTF-8"
        ) from error
    if "\0" in text:
        raise DocumentError("it contains zero bytes: it is not text, or is UTF-16 without a mark; save it as UTF-8")
    return text


def read_json(path: str | Path, *, most: int = MOST_DOCUMENT_BYTES) -> Any:
    """Read a JSON file.

    Raises
    ------
    OSError, DocumentError
        As `read_text` and `parse_json`.
    """
    return parse_json(read_bytes(path, most=most))


def read_archived_json(archive: ZipFile, name: str) -> Any:
    """Read a JSON file in a zip archive, as `read_json`; at most the largest size of a document is unpacked.

    Raises
    ------
    KeyError
        The archive has no such file.
    OSError, DocumentError
        As `read_json`.
    """
    with archive.open(name) as file:
        return parse_json(file.read(MOST_DOCUMENT_BYTES + 1))


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises
    ------
    DocumentError
        The text is not JSON, or has too many bytes, levels or values.
    """
    if len(text) > MOST_DOCUMENT_BYTES:
        raise DocumentError(f"its JSON has {len(text) / 1e6:.0f} MB, expected at most {MOST_DOCUMENT_BYTES / 1e6:.0f}")
    whole = decode_text(text) if isinstance(text, bytes) else text
    if sum(whole.count(mark) for mark in ",[{") > MOST_JSON_VALUES:
        raise DocumentError(f"its JSON has more than {MOST_JSON_VALUES:,} values")
    try:
        value = json.loads(whole)
    except RecursionError:
        raise _too_deep("JSON") from None
    except DocumentError:
        raise
    except ValueError as error:
        raise DocumentError(f"it is not JSON: {error}") from error
    if _depth_exceeds(value, MOST_LEVELS):
        raise _too_deep("JSON")
    return value


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file with one document.

    Raises
    ------
    OSError, DocumentError
        As `read_text` and `parse_yaml`.
    """
    return parse_yaml(read_text(path, most=MOST_YAML_BYTES))


def read_yaml_documents(path: str | Path) -> list[Any]:
    """Read a YAML file with several documents, as `read_yaml`."""
    return parse_yaml_documents(read_text(path, most=MOST_YAML_BYTES))


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text with one document; None if it is empty.

    Raises
    ------
    DocumentError
        The text is not YAML, has several documents, or has too many bytes, levels or values.
    """
    found = parse_yaml_documents(text)
    if len(found) > 1:
        raise DocumentError(f"it is not a single YAML document: it has {len(found)}, separated by '---'")
    return found[0] if found else None


def parse_yaml_documents(text: str) -> list[Any]:
    """Return the values of all documents of a YAML text, as `parse_yaml`."""
    if len(text) > MOST_YAML_BYTES:
        raise DocumentError(f"its YAML has {len(text) / 1e6:.0f} MB, expected at most {MOST_YAML_BYTES / 1e6:.0f}")
    try:
        _check_events(yaml.parse(text, Loader=_LOADER))
        return list(yaml.load_all(text, Loader=_LOADER))
    except DocumentError:
        raise
    except RecursionError:
        raise _too_deep("YAML") from None
    except yaml.YAMLError as error:
        raise DocumentError(f"it is not YAML: {' '.join(str(error).split())}") from error
    except _CONSTRUCTORS_RAISE as error:
        raise DocumentError(f"it is not YAML: a value contradicts its type ({error})") from error


def _check_events(events: Iterator[Any]) -> None:
    """Refuse a document with too many levels or values before building it; aliases count as what they repeat."""
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []  # anchor, and number of values before it
    keys: list[_Keys | None] = []  # of each open mapping; None for a sequence
    total = 0
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            sizes.clear()
        elif isinstance(event, yaml.AliasEvent):
            _note_key(keys, None)
            if any(anchor == event.anchor for anchor, _ in opened):
                raise DocumentError(f"its YAML repeats &{event.anchor} inside itself, without end")
            total += sizes.get(str(event.anchor), 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            keys.pop()
            anchor, before = opened.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        elif isinstance(event, yaml.NodeEvent):
            total += 1
            if isinstance(event, yaml.CollectionStartEvent):
                _note_key(keys, None)
                keys.append(_Keys() if isinstance(event, yaml.MappingStartEvent) else None)
                opened.append((event.anchor, total - 1))
            else:
                _note_key(keys, str(getattr(event, "value", "")))  # a scalar, which PyYAML's stubs do not say
                _check_scalar(event)
                sizes[str(event.anchor)] = 1
        if len(opened) > MOST_LEVELS:
            raise _too_deep("YAML")
        if total > MOST_YAML_VALUES:
            raise DocumentError(f"its YAML has more than {MOST_YAML_VALUES:,} values, repeated ones included")


class _Keys:
    """Keys of an open mapping, whose nodes are keys and values in turn."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.is_key_next = True


def _note_key(keys: list[_Keys | None], text: str | None) -> None:
    """Note the next node of the innermost mapping, with its text if it is a scalar; refuse a key that is repeated.

    PyYAML would take the last of its values without a word. The key ``<<`` merges mappings, and may be repeated.
    """
    mapping = keys[-1] if keys else None
    if mapping is None:
        return
    if mapping.is_key_next and text is not None and text != "<<":
        if text in mapping.seen:
            raise DocumentError(f"its YAML has the key {text[:100]!r} twice in one mapping; keep one of them")
        mapping.seen.add(text)
    mapping.is_key_next = not mapping.is_key_next


def _check_scalar(event: Any) -> None:
    if len(event.value) > _LONGEST_NUMBER and not event.style and _NUMBER.fullmatch(event.value):
        raise DocumentError(f"its YAML has a number of {len(event.value):,} characters")


def _depth_exceeds(value: Any, most: int) -> bool:
    """Return whether containers are nested in more than ``most`` levels."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(most):
        inside = (item for each in level for item in (each.values() if isinstance(each, dict) else each))
        level = [item for item in inside if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def _too_deep(language: str) -> DocumentError:
    return DocumentError(f"its {language} has more than {MOST_LEVELS} levels of nesting")
