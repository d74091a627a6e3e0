"""Parts of a dataset as one types them."""

import re

from lls_decode.errors import ConfigError


def parse_window(text: str, *, option: str = "--volumes") -> list[int | None]:
    """``3:9``, ``3:`` or ``:9`` as first and one after the last, e.g. as the value of ``part.volumes``."""
    found = re.fullmatch(r"(-?\d+)?:(-?\d+)?", text.strip())
    if found is None:
        raise ConfigError(f"{option} {text}: expected FIRST:LAST with the last one left out, as 3:9, 3: or :9.")
    return [None if bound is None else int(bound) for bound in found.groups()]


def parse_roi(text: str) -> dict[str, list[int]]:
    """``100:200,50:90`` (x, then y) as the value of ``part.roi``."""
    found = re.fullmatch(r"(\d+):(\d+),(\d+):(\d+)", text.replace(" ", ""))
    if found is None:
        raise ConfigError(f"--roi {text}: expected X0:X1,Y0:Y1 in pixels from 0, the last ones left out.")
    x0, x1, y0, y1 = (int(bound) for bound in found.groups())
    return {"x": [x0, x1], "y": [y0, y1]}
