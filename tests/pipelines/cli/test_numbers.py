"""Numbers of options that cannot be computed with are refused by name, for every command."""

import click
import numpy as np
import pytest
from click.testing import CliRunner

from lls_decode.errors import ConfigError
from lls_decode.pipelines.cli import cli
from lls_decode.pipelines.planning.block_selection import parse_blocks, parse_share
from tests.pipelines.cli.test_guarding import all_commands

NUMBERS = [
    (name, command, param)
    for name, command in all_commands()
    for param in command.params
    if isinstance(param.type, click.types.FloatParamType | click.types.IntParamType)
]


@pytest.mark.parametrize(
    ("command", "param"), [item[1:] for item in NUMBERS], ids=[f"{name} {param.opts[0]}" for name, _, param in NUMBERS]
)
def test_numbers_that_cannot_be_computed_with_are_refused(command: click.Command, param: click.Parameter) -> None:
    values = (
        [10**30, -(10**30)] if isinstance(param.type, click.types.IntParamType) else [np.nan, np.inf, 1e300, 1e-300]
    )
    for value in values:
        assert command.callback is not None
        given = {str(other.name): None for other in command.params} | {str(param.name): (value,) * param.nargs}
        with pytest.raises(ConfigError, match=f"{param.opts[0]} is "):
            command.callback(**given)


WORDS = {
    "--volumes": ["render", "t.parquet", "o.png", "--volumes", "1" * 5000 + ":"],
    "--roi": ["run", "m.zarr", "--model", "m", "--out", "o", "--roi", "1" * 5000 + ":2,0:1"],
}


@pytest.mark.parametrize("option", WORDS)
def test_ranges_of_thousands_of_digits_are_refused(option: str) -> None:
    error = CliRunner().invoke(cli, WORDS[option]).exception
    assert isinstance(error, ConfigError)
    assert str(error).startswith(option)


def test_shares_and_blocks_of_thousands_of_digits_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected I/N"):
        parse_share("1" * 5000 + "/2")
    with pytest.raises(ConfigError, match="expected blocks of the plan"):
        parse_blocks("b" + "1" * 5000, [])


def test_distances_of_matches_must_be_positive() -> None:
    for command in (["evaluate", "t.parquet", "t.parquet"], ["spike-in", "m.zarr", "--model", "m", "--out", "o"]):
        for option in ("--lateral-nm", "--axial-nm"):
            for value in ("0", "-1"):
                found = CliRunner().invoke(cli, [*command, option, value])
                assert found.exit_code == 2, found.output
                assert "is not in the range x>0" in found.output
