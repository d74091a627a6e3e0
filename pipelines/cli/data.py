"""Commands about data sets: inspect, convert, preview."""

from pathlib import Path
from typing import Any

import click

from lls_decode.addresses import is_address
from lls_decode.config import RunConfig, load_run_config

from .options import changed, echo_json, json_option, progress_bar, set_option, square_pixel


@click.command(epilog="Example: lls-decode inspect cell.zarr --config cell.run.yaml")
@click.argument("path")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Run configuration: input, geometry.")
@click.option(
    "--camera-frames", type=click.IntRange(0), default=256, show_default=True,
    help="Frames to read for the guess at the camera; 0: none.",
)  # fmt: skip
@click.option("--verify", is_flag=True, help="Read all frames and compare them with the checksums of 'convert'.")
@set_option
@json_option
def inspect(
    path: str, config_path: Path | None, camera_frames: int, verify: bool, changes: tuple[str, ...], as_json: bool
) -> None:
    """Say what a dataset (zarr), or a localization table (.parquet), holds."""
    if path.endswith(".parquet") and not is_address(path):
        from lls_decode.pipelines.flows.table_inspection import inspect_table

        summary = inspect_table(path)
    else:
        from lls_decode.frames import open_source
        from lls_decode.frames.diagnostics import inspect_source

        config = changed(load_run_config(config_path) if config_path else RunConfig(), changes)
        summary = inspect_source(
            open_source(path, config.input),
            camera_frames=camera_frames,
            pixel_size=config.pixel_size,
            geometry=config.geometry,
        )
        if verify:
            summary["lost_frames"] = _lost_frames(path, config)
    if as_json:
        echo_json(summary)
    else:
        _echo_summary(summary)


def _lost_frames(path: str, config: RunConfig) -> list[str]:
    """Ranges of frames that are not what was converted."""
    from lls_decode.frames import verify_store

    with progress_bar("comparing checksums") as progress:
        lost = verify_store(path, storage=config.input.storage, progress=progress)
    return [f"{run.first}-{run.last}" for run in lost]


def _echo_summary(summary: dict[str, Any]) -> None:
    for name, value in summary.items():
        if name == "notes":
            for note in value:
                click.echo(f"{'note':<24} {note}")
        elif isinstance(value, dict):
            told = {
                key: f"{item:.6g}" if isinstance(item, float) else item
                for key, item in value.items()
                if item is not None
            }
            click.echo(f"{name:<24} {', '.join(f'{key} {item}' for key, item in told.items())}")
        elif isinstance(value, list):
            click.echo(f"{name:<24} {', '.join(map(str, value)) or 'none'}")
        elif value is not None:
            click.echo(f"{name:<24} {value}")


@click.command(epilog="Example: lls-decode convert stack.tif cell.zarr --planes-per-volume 30 --pixel-nm 104")
@click.argument("movie")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--planes-per-volume", type=click.IntRange(1), help="Frames of a volume.  [default: what the file says]")
@click.option(
    "--pixel-nm", type=click.FloatRange(0, min_open=True), help="Pixel size, nm.  [default: what the file says]"
)
@click.option("--z-step-nm", type=click.FloatRange(0, min_open=True), help="Step between planes, nm.")
@click.option("--axes", help="Axes of each file when its metadata are wrong, e.g. zyx.")
@click.option("--channel", help="Which channel of several: its number, its name, or its laser.")
@click.option("--position", help="Which position of several.")
@click.option("--workers", type=click.IntRange(1), help="Threads.  [default: one a core, at most 8]")
@click.option("--overwrite", is_flag=True, help="Replace a store that is there, or begin an interrupted one anew.")
def convert(movie: str, out: Path, pixel_nm: float | None, **options: Any) -> None:
    """Convert MOVIE to zarr of the recommended layout, each shard read back and compared.

    MOVIE is a TIFF, a folder or glob of TIFFs, an NDTiff data set, a folder of lattice light-sheet stacks with its
    Settings.txt, a .dax, a Picasso .raw, or a zarr store, also at an address (s3://, gs://, https://). The same
    command goes on where an interrupted one was.
    """
    from lls_decode.movies import convert as convert_movie

    with progress_bar("converting frames") as progress:
        source = convert_movie(movie, out, pixel_size=square_pixel(pixel_nm), progress=progress, **options)
    size = source.layout
    click.echo(
        f"{out}: {size.num_volumes} volumes x {size.planes_per_volume} planes of {size.height} x {size.width} pixels"
    )


@click.command(epilog="Example: lls-decode preview cell.zarr --model lls-paint --volume 100 --out preview.png")
@click.argument("dataset")
@click.option("--model", required=True, help="Bundle (.lls), or the name of a shipped one.")
@click.option("--out", default="preview.png", show_default=True, type=click.Path(path_type=Path))
@click.option(
    "--volume", type=click.IntRange(0), help="Which volume, or first frame of a movie.  [default: the middle]"
)
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Run configuration (YAML).")
@set_option
def preview(
    dataset: str, model: str, out: Path, volume: int | None, config_path: Path | None, changes: tuple[str, ...]
) -> None:
    """Localize one volume of DATASET here and now, and draw its detections over the raw planes (PNG)."""
    from lls_decode.models import find_bundle
    from lls_decode.pipelines.flows.preview import preview as draw_preview

    config = changed(load_run_config(config_path) if config_path else RunConfig(), changes)
    result = draw_preview(dataset, find_bundle(model), out, config=config, volume=volume)
    for note in result.notes:
        click.echo(f"note       {note}")
    click.echo(
        f"{out}: {result.num_localizations} localizations in {result.num_frames} frames, {result.seconds:.1f} s "
        f"({result.num_frames / result.seconds:.1f} frames/s in this process)"
    )
