"""Commands about configurations: the group ``config``."""

import functools
import operator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lls_decode.config import Config, MovieConfig, RunConfig, TrainingConfig, load, load_run_config
from lls_decode.config.base import read_mapping
from lls_decode.config.commented import in_yaml_words
from lls_decode.documents import read_text
from lls_decode.errors import ConfigError
from lls_decode.models import find_config, shipped
from lls_decode.outputs import is_forced
from lls_decode.pipelines.flows.presets import (
    PRESETS,
    Microscope,
    describe_preset,
    preset_command,
    preset_config,
    preset_text,
)

from .guarding import OutputPath
from .options import changed, echo, echo_json, set_option, square_pixel
from .parameters import ANY_CONFIG

if TYPE_CHECKING:
    from pydantic import TypeAdapter

KINDS = ("run", "training", "movie", "site", "batch")
"""Kinds of YAML files that users write; each kind has a schema."""


@click.group()
def config() -> None:
    """Show, create and check configurations, and print their schemas for editors."""


@config.command(
    short_help="Print a shipped or default configuration.",
    epilog="Example: lls-decode config show lls-paint > my-training.yaml",
)
@click.argument("name", type=ANY_CONFIG, default="run")
def show(name: str) -> None:
    """Print a shipped configuration, or the defaults of 'lls-decode run'."""
    if name == "run":
        echo(RunConfig().to_yaml(), nl=False)
        return
    path = find_config(name)
    read_mapping(path)  # refuses a file that is no configuration
    echo(read_text(path), nl=False, kept="\n\r\t")


@config.command("list", epilog="Example: lls-decode config list")
def list_configs() -> None:
    """List the configurations that ship with the package."""
    echo("run            default run configuration")
    for name, path in shipped(".yaml").items():
        echo(f"{name:<14} {path.read_text(encoding='utf-8').splitlines()[0].lstrip('# ')}")
    echo("\npresets of 'lls-decode config init'")
    for name in PRESETS:
        echo(f"{name:<14} {describe_preset(name)}")


@config.command(
    epilog="Example: lls-decode config init astigmatism --out mine.yaml --psf psf.npz --run-config run.yaml"
)
@click.argument("preset", type=click.Choice(list(PRESETS)))
@click.option("--out", required=True, type=OutputPath(), help="Training configuration to write (YAML).")
@click.option("--pixel-nm", type=click.FloatRange(0, min_open=True), help="Pixel size, nm.")
@click.option("--psf", type=click.Path(path_type=Path), help="PSF from 'lls-decode calibrate', or SMAP's _3dcal.mat.")
@click.option(
    "--run-config",
    type=click.Path(path_type=Path),
    help="Run configuration that gives camera, pixel size and geometry.",
)
@click.option("--gpu", is_flag=True, help="Use the published network size and training settings for a GPU.")
@set_option
def init(
    preset: str,
    out: Path,
    pixel_nm: float | None,
    psf: Path | None,
    run_config: Path | None,
    gpu: bool,
    changes: tuple[str, ...],
) -> None:
    """Write a commented training configuration for your microscope.

    \b
    lls-paint    stage-scanned lattice light-sheet; context from neighbouring planes of the sweep
    astigmatism  astigmatic 3-D movies; context from neighbouring frames in time
    2d           2-D movies; context from neighbouring frames in time
    """  # noqa: D301  (click recognizes the character, not the escape)
    from lls_decode.table import written_aside

    if out.exists() and not is_forced():
        raise ConfigError(f"{out} exists; give another --out, or add --force to replace it.")
    run = None if run_config is None else load_run_config(run_config)
    microscope = Microscope(pixel=square_pixel(pixel_nm), psf=psf, run=run)
    made = changed(preset_config(preset, name=out.stem, microscope=microscope, gpu=gpu), changes)
    with written_aside(out) as aside:
        aside.write_text(preset_text(made, preset=preset, path=out), encoding="utf-8")
    echo(f"{out} written; edit it, then: {preset_command(made, preset=preset, path=out)}")


@config.command(epilog="Example: lls-decode config check my-run.yaml --kind run")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(["run", "training", "movie"]), default="run", show_default=True)
def check(path: Path, kind: str) -> None:
    """Validate the configuration file PATH."""
    if kind == "run":
        load_run_config(path)
    else:
        kinds: dict[str, type[Config]] = {"training": TrainingConfig, "movie": MovieConfig}
        load(kinds[kind], path)
    echo(f"{path} is a valid {kind} configuration.")


@config.command(
    short_help="Print the JSON schema of one kind of configuration.",
    epilog="Example: lls-decode config schema training > training.schema.json",
)
@click.argument("kind", type=click.Choice(KINDS), default="run")
def schema(kind: str) -> None:
    """Print the JSON schema of one KIND of configuration, for editors that check and complete YAML.

    For editors with the YAML language server, start the file with: # yaml-language-server: $schema=training.schema.json
    """
    echo_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **config_schema(kind)})


def config_schema(kind: str) -> dict[str, Any]:
    """Return the JSON schema of one of `KINDS`: every key, its type, limits, default and description."""
    found = _plain(_schema_type(kind).json_schema())
    return {"title": f"lls-decode {kind} configuration", **{key: found[key] for key in found if key != "title"}}


def _plain(part: Any, key: str = "") -> Any:
    """Return a schema whose descriptions write Python values as YAML, e.g. null for None."""
    if isinstance(part, dict):
        return {name: _plain(value, name) for name, value in part.items()}
    if isinstance(part, list):
        return [_plain(item) for item in part]
    return in_yaml_words(part) if key == "description" and isinstance(part, str) else part


def _schema_type(kind: str) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    if kind == "site":
        from lls_decode.cluster.site import KINDS

        return TypeAdapter(functools.reduce(operator.or_, KINDS.values()))
    if kind == "batch":
        from lls_decode.pipelines.batch.datasets import BatchFile

        return TypeAdapter(BatchFile)
    kinds: dict[str, type[Config]] = {"run": RunConfig, "training": TrainingConfig, "movie": MovieConfig}
    return TypeAdapter(kinds[kind])
