"""Commands about datasets: inspect, convert, preview."""

from pathlib import Path
from typing import Any

import click

from lls_decode.addresses import is_address, resolve_dataset
from lls_decode.config import RunConfig, change
from lls_decode.errors import ConfigError
from lls_decode.models import as_run_config

from .guarding import OutputPath
from .inputs import InputOptions, input_options
from .options import changed, echo, echo_json, json_option, like_option, progress_bar, set_option, square_pixel
from .parameters import ANY_PATH, MODEL, LazyHelpCommand


@click.command(
    short_help="Describe a dataset or a localization table.",
    epilog="Example: lls-decode inspect cell.zarr --config cell.run.yaml",
)
@click.argument("path", type=ANY_PATH)
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="Run configuration (YAML) with input and geometry."
)
@click.option(
    "--camera-frames", type=click.IntRange(0), default=256, show_default=True,
    help="Number of frames to read to guess the camera parameters; 0 to skip the guess.",
)  # fmt: skip
@click.option("--verify", is_flag=True, help="Read all frames and compare them with the checksums from 'convert'.")
@input_options
@set_option
@like_option
@json_option
def inspect(
    path: str,
    config_path: Path | None,
    camera_frames: int,
    verify: bool,
    inputs: InputOptions,
    changes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Describe the contents of PATH: a dataset (zarr) or a localization table (.parquet)."""
    path = resolve_dataset(path)
    if path.endswith(".parquet") and not is_address(path):
        from lls_decode.pipelines.flows.table_inspection import inspect_table

        if inputs.changes():
            raise ConfigError(
                f"{path} is a table; --array, --axes and the other input options apply to datasets only. Omit them."
            )
        summary = inspect_table(path)
    else:
        from lls_decode.frames import open_source
        from lls_decode.frames.diagnostics import inspect_source
        from lls_decode.frames.metadata.salvage import read_salvage

        config = as_run_config(config_path)
        config = changed(change(config, inputs.changes(), source="command line"), changes)
        summary = inspect_source(
            open_source(path, config.input),
            camera_frames=camera_frames,
            pixel_size=config.pixel_size,
            geometry=config.geometry,
        )
        if missing := read_salvage(path, config.input.storage):
            summary["missing"] = missing
        if verify:
            summary["lost_frames"] = _lost_frames(path, config)
    if as_json:
        echo_json(summary)
    else:
        _echo_summary(summary)


def _lost_frames(path: str, config: RunConfig) -> list[str]:
    """Return the ranges of frames that differ from the frames that were converted, as texts."""
    from lls_decode.frames import verify_store

    with progress_bar("comparing checksums") as progress:
        lost = verify_store(path, storage=config.input.storage, progress=progress)
    return [f"{run.first} to {run.last}" for run in lost]


def _echo_summary(summary: dict[str, Any]) -> None:
    for name, value in summary.items():
        if name == "notes":
            for note in value:
                echo(f"{'note':<24} {note}")
        elif isinstance(value, dict):
            told = {
                key: f"{item:.6g}" if isinstance(item, float) else item
                for key, item in value.items()
                if item is not None
            }
            echo(f"{name:<24} {', '.join(f'{key} {item}' for key, item in told.items())}")
        elif name == "missing":
            for item in value:
                echo(f"{'missing':<24} {item}")
        elif isinstance(value, list):
            echo(f"{name:<24} {', '.join(map(str, value)) or 'none'}")
        elif value is not None:
            echo(f"{name:<24} {value}")


def _movie_formats() -> str:
    from lls_decode.movies.opening import FORMATS

    return "; ".join(FORMATS)


@click.command(
    cls=LazyHelpCommand,
    formats=_movie_formats,
    short_help="Convert MOVIE to zarr in the recommended layout.",
    epilog="Example: lls-decode convert stack.tif cell.zarr --planes-per-volume 30 --pixel-nm 104",
)
@click.argument("movie", type=ANY_PATH)
@click.argument("out", type=OutputPath())
@click.option("--planes-per-volume", type=click.IntRange(1), help="Frames per volume.  [default: from the file]")
@click.option("--pixel-nm", type=click.FloatRange(0, min_open=True), help="Pixel size, nm.  [default: from the file]")
@click.option("--z-step-nm", type=click.FloatRange(0, min_open=True), help="Distance between planes, nm.")
@click.option("--axes", help="Axes of each file, if the metadata are wrong, e.g. zyx.")
@click.option("--channel", help="Channel to convert, if there are several: its number, name or laser.")
@click.option("--position", help="Position (or image in a file) to convert, if there are several: its number or name.")
@click.option(
    "--pattern",
    help="File names to read in a folder; {t} {z} {c} {p} stand for time, plane, channel, position: 'pos1_t{t}.tif'.",
)
@click.option("--allow-gaps", is_flag=True, help="Accept missing or truncated files, and record the gaps.")
@click.option("--salvage", is_flag=True, help="Keep the intact frames of damaged files, and record what is missing.")
@click.option("--workers", type=click.IntRange(1), help="Number of threads.  [default: one per core, at most 8]")
@click.option("--overwrite", is_flag=True, help="Replace an existing store, or restart an interrupted conversion.")
def convert(
    movie: str,
    out: Path,
    planes_per_volume: int | None,
    pixel_nm: float | None,
    z_step_nm: float | None,
    axes: str | None,
    channel: str | None,
    position: str | None,
    pattern: str | None,
    allow_gaps: bool,
    salvage: bool,
    workers: int | None,
    overwrite: bool,
) -> None:
    """Convert MOVIE to zarr in the recommended layout; each written shard is read back and compared.

    MOVIE is one of: {formats}. Rerun the same command to resume an interrupted conversion.
    """
    from lls_decode.movies import convert as convert_movie

    with progress_bar("converting frames") as progress:
        source = convert_movie(
            movie,
            out,
            planes_per_volume=planes_per_volume,
            pixel_size=square_pixel(pixel_nm),
            z_step_nm=z_step_nm,
            axes=axes,
            channel=channel,
            position=position,
            pattern=pattern,
            allow_gaps=allow_gaps,
            salvage=salvage,
            overwrite=overwrite,
            workers=workers,
            progress=progress,
        )
    size = source.layout
    echo(f"{out}: {size.num_volumes} volumes x {size.planes_per_volume} planes of {size.height} x {size.width} pixels")


@click.command(
    short_help="Localize one volume and draw the result.",
    epilog="Example: lls-decode preview cell.zarr --model lls-paint --volume 100 --out preview.png",
)
@click.argument("dataset", type=ANY_PATH)
@click.option("--model", type=MODEL, required=True, help="Model bundle (.lls), or the name of a shipped one.")
@click.option(
    "--out", default="preview.png", show_default=True, type=OutputPath(".png"), help="Picture to write (.png)."
)
@click.option(
    "--volume",
    type=click.IntRange(0),
    help="Volume to localize; for a movie, the first frame.  [default: the middle of the dataset]",
)
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Run configuration (YAML).")
@input_options
@click.option(
    "--force", is_flag=True, help="Replace files that lls-decode did not write; accept impossible light levels."
)
@set_option
def preview(
    dataset: str,
    model: str,
    out: Path,
    volume: int | None,
    config_path: Path | None,
    inputs: InputOptions,
    force: bool,
    changes: tuple[str, ...],
) -> None:
    """Localize one volume of DATASET in this process and draw its localizations over the raw planes (PNG)."""
    from lls_decode.models import find_bundle
    from lls_decode.pipelines.flows.preview import preview as draw_preview

    config = as_run_config(config_path)
    config = changed(change(config, inputs.changes(), source="command line"), changes)
    result = draw_preview(dataset, find_bundle(model), out, config=config, volume=volume, force=force)
    for note in result.notes:
        echo(f"note       {note}")
    echo(
        f"{out}: {result.num_localizations} localizations in {result.num_frames} frames, {result.seconds:.1f} s "
        f"({result.num_frames / result.seconds:.1f} frames/s in this process)"
    )
