"""Names that become file names are validated when the configuration is read, before any long computation."""

import pytest

from lls_decode.config import TrainingConfig
from lls_decode.config.changes import change
from lls_decode.errors import ConfigError
from lls_decode.models import as_config

SEPARATORS = ("cell/3", "..", ".", "", "a\\b", "c:", "a*", "a\nb", "a\0b")
OTHERS = (".hidden", "-rf", "end.", " a", "a ", "NUL", "com1.x", "n" * 200)


@pytest.mark.parametrize("name", SEPARATORS + OTHERS)
def test_names_that_are_invalid_file_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"name: .*(used in file names|characters)"):
        change(as_config(TrainingConfig, "lls-paint"), {"name": name}, source="--set")


@pytest.mark.parametrize("name", ["cell-3", "Zelle 3", "größe", "a.b", "console"])
def test_names_that_are_valid_file_names_are_accepted(name: str) -> None:
    assert change(as_config(TrainingConfig, "lls-paint"), {"name": name}, source="--set").name == name
