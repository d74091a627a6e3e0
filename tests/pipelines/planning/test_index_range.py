"""Ranges on the command line: all options share one syntax, and the advice in error messages works."""

import re

import pytest

from lls_decode.axes import IndexRange, range_text
from lls_decode.errors import ConfigError
from lls_decode.pipelines.planning.index_range import parse_limits, parse_range, parse_roi

RANGES: dict[str, IndexRange] = {"3:7": (3, 7), "3:": (3, None), ":7": (None, 7), ":": (None, None), " 0:1 ": (0, 1)}


@pytest.mark.parametrize(("text", "bounds"), RANGES.items(), ids=RANGES)
def test_a_range_is_parsed_and_formatted(text: str, bounds: IndexRange) -> None:
    assert parse_range(text, option="--volumes") == bounds
    assert range_text(bounds) == text.strip()


@pytest.mark.parametrize("text", ["-10:", ":-1", "-5:-2", "3:-1", "-3:9"])
def test_negative_numbers_are_accepted_only_where_they_are_defined(text: str) -> None:
    bounds = parse_range(text, option="--volumes", from_end=True)
    assert range_text(bounds) == text
    with pytest.raises(ConfigError, match=r"--frames .*expected START:STOP"):
        parse_range(text, option="--frames")


WRONG = {
    "the end included": ("3-6", "3:7 for 3 to 6"),
    "two words": ("3 6", "3:7 for 3 to 6"),
    "two dots": ("3..6", "3:7 for 3 to 6"),
    "one number": ("5", "5:6 for 5 alone"),
    "empty": ("7:7", "7:8 for 7 alone"),
    "backwards": ("9:7", "7:10 for 7 to 9"),
    "a word": ("all", "3:7 for 3 to 6"),
    "nothing": ("", "3:7 for 3 to 6"),
    "a step": ("0:9:2", "3:7 for 3 to 6"),
    "before the first": (":0", "3:7 for 3 to 6"),
}


@pytest.mark.parametrize(("text", "advice"), WRONG.values(), ids=WRONG)
def test_the_advice_of_an_error_works(text: str, advice: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_range(text, option="--volumes")
    message = str(refused.value)
    assert message.startswith(f"--volumes {text or '(nothing)'}")
    assert "expected START:STOP with the end excluded" in message
    assert advice in message
    found = re.search(r"(\d+:\d+) for (\d+)(?: to (\d+))?", message)
    assert found is not None
    start, stop = parse_range(found[1], option="--volumes")
    assert (start, stop) == (int(found[2]), int(found[3] or found[2]) + 1)


def test_limits_and_regions_are_parsed_or_refused() -> None:
    assert parse_limits("-500:500.5", option="--z-nm") == (-500.0, 500.5)
    for wrong in ("5", "5:", "5:5", "9:5", "a:b", "nan:3", "0:inf", "1:2:3"):
        with pytest.raises(ConfigError, match=r"--z-nm .*expected LOW:HIGH"):
            parse_limits(wrong, option="--z-nm")
    assert parse_roi("100:200, 50:90", option="--roi") == {"x": [100, 200], "y": [50, 90]}
    for wrong in ("1:2", "9:3,0:4", "0:4,3:3", "a:b,c:d", ":5,0:4"):
        with pytest.raises(ConfigError, match=r"--roi .*expected X0:X1,Y0:Y1 in pixels from 0 with the ends excluded"):
            parse_roi(wrong, option="--roi")
