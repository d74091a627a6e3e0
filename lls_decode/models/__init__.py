"""What ships with the package: trained bundles (``*.lls``) and configurations (``*.yaml``), found by name."""

from importlib import resources
from pathlib import Path

from lls_decode.errors import BundleError, ConfigError, LlsDecodeError


def shipped(suffix: str) -> dict[str, Path]:
    """Shipped files with a suffix, by name."""
    folder = Path(str(resources.files(__name__)))
    return {path.stem: path for path in sorted(folder.glob(f"*{suffix}"))}


def find_bundle(name: str | Path) -> Path:
    """Path of a bundle: the file that ``name`` names, else a shipped one.

    Raises
    ------
    BundleError
        There is neither.
    """
    return _find(name, ".lls", "Model bundle", BundleError)


def find_config(name: str | Path) -> Path:
    """Path of a configuration: the file that ``name`` names, else a shipped one.

    Raises
    ------
    ConfigError
        There is neither.
    """
    return _find(name, ".yaml", "Configuration", ConfigError)


def _find(name: str | Path, suffix: str, what: str, error: type[LlsDecodeError]) -> Path:
    path, known = Path(name), shipped(suffix)
    if path.exists():
        return path
    if str(name) in known:
        return known[str(name)]
    raise error(
        f"{what} {name} does not exist; give the path of a {suffix} file, or a shipped one ({', '.join(known)})."
    )
