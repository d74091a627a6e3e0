"""Shipped model bundles (``*.lls``) and configurations (``*.yaml``), and functions that find files by path or name."""

from lls_decode.models.configs import Given, RunConfigLike, as_config, as_run_config, train_command
from lls_decode.models.files import find_bundle, find_config, shipped

__all__ = [
    "Given",
    "RunConfigLike",
    "as_config",
    "as_run_config",
    "find_bundle",
    "find_config",
    "shipped",
    "train_command",
]
