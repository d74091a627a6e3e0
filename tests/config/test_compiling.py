"""``compute.compile: auto`` compiles the network where this saves more time than it takes."""

import pytest

from lls_decode.config import ABSENT_PX, CACHED_PX, CompiledCode, choose_compilation

CASES: dict[str, tuple[list[CompiledCode], int, bool]] = {
    "a GPU with little work": (["absent"], ABSENT_PX - 1, False),
    "a GPU with much work": (["absent"], ABSENT_PX, True),
    "two GPUs that share the same work": (["absent", "absent"], ABSENT_PX, False),
    "two GPUs with twice the work": (["absent", "absent"], 2 * ABSENT_PX, True),
    "a GPU that finds compiled code": (["cached"], CACHED_PX, True),
    "a GPU that finds compiled code, with little work": (["cached"], CACHED_PX - 1, False),
    "one of two GPUs finds compiled code": (["cached", "absent"], 2 * CACHED_PX, False),
    "a CPU": (["impossible"], 100 * ABSENT_PX, False),
    "a CPU and a GPU": (["impossible", "cached"], 2 * CACHED_PX, True),
}


@pytest.mark.parametrize(("workers", "num_pixels", "is_on"), CASES.values(), ids=CASES)
def test_compilation_depends_on_devices_cache_and_work(
    workers: list[CompiledCode], num_pixels: int, is_on: bool
) -> None:
    choice = choose_compilation("auto", workers, num_pixels)
    assert choice.is_on == is_on
    assert choice.describe().startswith("compiled (auto: " if is_on else "not compiled (auto: ")


@pytest.mark.parametrize("wish", [True, False])
def test_the_configuration_takes_precedence(wish: bool) -> None:
    choices = [choose_compilation(wish, [code], work) for code, work in (("impossible", 1), ("cached", 10**12))]
    assert [choice.is_on for choice in choices] == [wish, wish]
    assert choices[0].reason == f"compute.compile is {'true' if wish else 'false'}"


def test_the_reason_names_cache_limit_and_work() -> None:
    choice = choose_compilation("auto", ["absent", "absent"], 3 * 10**9)
    assert choice.reason == (
        "auto: no compiled code is cached, and compiling pays off from 6 Gpx per worker; each has 1.5 Gpx"
    )
