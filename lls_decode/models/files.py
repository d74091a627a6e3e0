"""Files that ship with the package, found by name: model bundles (``*.lls``) and configurations (``*.yaml``)."""

from importlib import resources
from pathlib import Path

from lls_decode.errors import BundleError, ConfigError, LlsDecodeError


def shipped(suffix: str) -> dict[str, Path]:
    """Return the shipped files with a suffix, by name."""
    folder = Path(str(resources.files(__package__)))
    return {path.stem: path for path in sorted(folder.glob(f"*{suffix}"))}


def find_bundle(name: str | Path) -> Path:
    """Return the path of a bundle: ``name`` if it is a file, else the shipped bundle with this name.

    Raises
    ------
    BundleError
        There is neither such a file nor such a shipped bundle.
    """
    return _find(name, ".lls", "Model bundle", BundleError)


def find_config(name: str | Path) -> Path:
    """Return the path of a configuration: ``name`` if it is a file, else the shipped configuration with this name.

    Raises
    ------
    ConfigError
        There is neither such a file nor such a shipped configuration.
    """
    return _find(name, ".yaml", "Configuration", ConfigError)


def _find(name: str | Path, suffix: str, what: str, error: type[LlsDecodeError]) -> Path:
    if not isinstance(name, str | Path):
        raise error(f"{what} is of type {type(name).__name__}, expected the path of a {suffix} file, or a name.")
    path, known = Path(name), shipped(suffix)
    if path.is_file():  # not a folder, such as a training folder with the name of a shipped model
        return path
    if str(name) in known:
        return known[str(name)]
    found = "is a folder" if path.is_dir() else "does not exist"
    raise error(
        f"{what} {name} {found}, so it cannot be read; give the path of a {suffix} file, or a shipped one "
        f"({', '.join(known)})."
    )
