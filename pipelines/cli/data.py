"""Commands about data sets: inspect, convert."""

from pathlib import Path

import click

from lls_decode.config import PixelSize, RunConfig, load_run_config

from .options import changed, echo_json, json_option, progress_bar, set_option


@click.command(epilog="Example: lls-decode inspect cell.zarr")
@click.argument("path")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Run configuration, for its input part.")
@set_option
@json_option
def inspect(path: str, config_path: Path | None, changes: tuple[str, ...], as_json: bool) -> None:
    """Say what a dataset (zarr), or a localization table (.parquet), holds."""
    if path.endswith(".parquet"):
        from lls_decode.pipelines.inspection import inspect_table

        summary = inspect_table(path)
    else:
        from lls_decode.frames import inspect_source, open_source

        config = changed(load_run_config(config_path) if config_path else RunConfig(), changes)
        summary = inspect_source(open_source(path, config.input))
    if as_json:
        echo_json(summary)
        return
    for name, value in summary.items():
        if name == "notes":
            for note in value:
                click.echo(f"{'note':<22} {note}")
        elif value is not None:
            click.echo(f"{name:<22} {value}")


@click.command(epilog="Example: lls-decode convert stack.tif cell.zarr --planes-per-volume 30 --pixel-nm 104")
@click.argument("movie", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--planes-per-volume", type=click.IntRange(1), help="Frames of a volume.  [default: what the file says]")
@click.option(
    "--pixel-nm", type=click.FloatRange(0, min_open=True), help="Pixel size, nm.  [default: what the file says]"
)
@click.option("--z-step-nm", type=click.FloatRange(0, min_open=True), help="Step between planes, nm.")
@click.option("--axes", help="Axes of each file when its metadata are wrong, e.g. zyx.")
@click.option("--overwrite", is_flag=True, help="Replace a store that is there.")
def convert(
    movie: Path,
    out: Path,
    planes_per_volume: int | None,
    pixel_nm: float | None,
    z_step_nm: float | None,
    axes: str | None,
    overwrite: bool,
) -> None:
    """Convert MOVIE (TIFF, directory or glob of TIFFs, .dax, Picasso .raw) to zarr of the recommended layout."""
    from lls_decode.frames import convert as convert_movie

    with progress_bar("converting frames") as progress:
        source = convert_movie(
            movie,
            out,
            planes_per_volume=planes_per_volume,
            pixel_size=None if pixel_nm is None else PixelSize(x_nm=pixel_nm, y_nm=pixel_nm),
            z_step_nm=z_step_nm,
            axes=axes,
            overwrite=overwrite,
            progress=progress,
        )
    size = source.layout
    click.echo(
        f"{out}: {size.num_volumes} volumes x {size.planes_per_volume} planes of {size.height} x {size.width} pixels"
    )
