"""What ships with the package: trained bundles (``*.lls``) and configurations (``*.yaml``), found by name."""

from importlib import resources
from pathlib import Path

from lls_decode.errors import BundleError, ConfigError


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
    path = Path(name)
    if path.exists():
        return path
    bundles = shipped(".lls")
    if str(name) in bundles:
        return bundles[str(name)]
    known = ", ".join(bundles) or "none"
    raise BundleError(
        f"Model bundle {name} does not exist; give the path of a .lls file, or a shipped model ({known})."
    )


def find_config(name: str | Path) -> Path:
    """Path of a configuration: the file that ``name`` names, else a shipped one.

    Raises
    ------
    ConfigError
        There is neither.
    """
    path = Path(name)
    if path.exists():
        return path
    configs = shipped(".yaml")
    if str(name) in configs:
        return configs[str(name)]
    raise ConfigError(
        f"Configuration {name} does not exist; give a YAML file, or a shipped one ({', '.join(configs)})."
    )
