"""Commands about several tables: join, register."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lls_decode.pipelines.cli.guarding import OutputPath
from lls_decode.pipelines.cli.options import echo, echo_json, json_option, like_option, progress_bar

if TYPE_CHECKING:
    from lls_decode.register import Method, ModelName


@click.command(
    short_help="Join several tables into one.",
    epilog="Example: lls-decode join day1.parquet day2.parquet --out both.parquet. "
    "Example: lls-decode join c560.parquet c642.parquet --same-frames --channels tubulin,actin --out cell.parquet",
)
@click.argument("tables", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=OutputPath(), help="Joined table to write.")
@click.option(
    "--same-frames", is_flag=True, help="Treat TABLES as channels of the same frames; frame numbers stay unchanged."
)
@click.option(
    "--channels", metavar="NAME,NAME",
    help="Channel name of each table; tables with equal names share a channel.  [default: from the tables]",
)  # fmt: skip
@like_option
@json_option
def join(tables: tuple[Path, ...], out: Path, same_frames: bool, channels: str | None, as_json: bool) -> None:
    """Join several TABLES (localizations or molecules) into one, with their frames one after another.

    The joined table records the name, digest and first frame of each input. Molecules are renumbered so that their
    numbers stay unique. Tables must have the same pixel size, geometry and columns. Tables of several channels give a
    table with a column 'channel'.
    """
    from lls_decode.joining import join_tables

    names = None if channels is None else [name.strip() for name in channels.split(",")]
    with progress_bar("joining rows") as progress:
        made = join_tables(tables, out, same_frames=same_frames, channels=names, progress=progress)
    if as_json:
        echo_json({**vars(made), "inputs": [vars(given) for given in made.inputs]})
        return
    for given in made.inputs:
        last = given.first_frame + given.num_frames - 1
        labels = ", ".join(made.channels[number] for number in given.channels if made.channels)
        frames = f"frames {given.first_frame} to {last}" if given.num_frames else "no frames"
        echo(f"{given.name}: {given.rows} rows, {frames}" + (f", {labels}" if labels else ""))
    echo(f"{made.path}: {made.num_rows} rows, {made.num_frames} frames")


@click.command(
    short_help="Align one table or channel with another.",
    epilog="Example: lls-decode register fixed.parquet moving.parquet --out moved.parquet. "
    "Example: lls-decode register cell.parquet --fixed-channel 0 --moving-channel 1 --model affine --out one.parquet. "
    "Example: lls-decode register other.parquet --apply moved_transformation.yaml --out other_moved.parquet",
)
@click.argument("fixed", type=click.Path(path_type=Path))
@click.argument("moving", required=False, type=click.Path(path_type=Path))
@click.option("--out", type=OutputPath(), help="Moved table to write.")
@click.option("--transformation", type=OutputPath(), metavar="YAML",
              help="File to write the transformation to.  [default: OUT_transformation.yaml]")  # fmt: skip
@click.option("--apply", type=click.Path(path_type=Path), metavar="YAML",
              help="Apply this transformation to the one table given, instead of estimating one.")  # fmt: skip
@click.option("--fixed-channel", type=click.IntRange(0), help="Use only this channel of FIXED.")
@click.option("--moving-channel", type=click.IntRange(0), help="Use and move only this channel of MOVING.")
@click.option("--model", type=click.Choice(["shift", "rigid", "affine"]), default="rigid", show_default=True,
              help="Map of x and y: shift, rotation + shift, or linear map + shift. z is only shifted.")  # fmt: skip
@click.option("--method", type=click.Choice(["auto", "beads", "structure"]), default="auto", show_default=True,
              help="What to align: beads or structure visible in both tables.")  # fmt: skip
@click.option("--max-shift-nm", type=click.FloatRange(0, min_open=True),
              help="Largest shift of the centre of MOVING, nm.  [default: unlimited]")  # fmt: skip
@click.option("--max-angle-deg", type=click.FloatRange(0, 180), default=15.0, show_default=True,
              help="Largest rotation in either direction, degrees.")  # fmt: skip
@like_option
@json_option
def register(
    fixed: Path,
    moving: Path | None,
    out: Path | None,
    transformation: Path | None,
    apply: Path | None,
    fixed_channel: int | None,
    moving_channel: int | None,
    model: "ModelName",
    method: "Method",
    max_shift_nm: float | None,
    max_angle_deg: float,
    as_json: bool,
) -> None:
    """Estimate the transformation that aligns MOVING with FIXED, with its uncertainty, and apply it.

    The estimate uses beads or structure that both tables show. To align two channels of one table, give only FIXED and
    both channel options. If the tables do not determine the transformation, nothing is written and the exit status
    is 3. Correct drift before registering.
    """
    from lls_decode.register import register_tables

    made = register_tables(
        fixed,
        moving,
        out=out,
        transformation=transformation,
        apply=apply,
        fixed_channel=fixed_channel,
        moving_channel=moving_channel,
        model=model,
        method=method,
        max_shift_nm=max_shift_nm,
        max_angle_deg=max_angle_deg,
    )
    found = made.transformation.summary()
    if as_json:
        echo_json({**found, "rows": made.num_moved, "written": made.written})
        return
    shift = "  ".join(
        f"{axis} {value:.2f} ± {sigma:.2f}"
        for axis, value, sigma in zip("xyz", found["shift_nm"], found["shift_sigma_nm"], strict=False)
    )
    echo(f"shift         {shift} nm, in {found['coords']} coordinates, of the centre at {found['pivot_nm']}")
    echo(f"rotation      {found['angle_deg']:.5f} ± {found['angle_sigma_deg']:.5f} deg, from x towards y")
    if found["model"] == "affine":
        echo(f"matrix        {[row[:2] for row in found['matrix'][:2]]}")
    echo(f"uncertainty   {'  '.join(f'{value:.2f}' for value in found['error_nm'])} nm, r.m.s. over the field")
    echo(f"measured by   {found['method']}" + (f": {found['support']}" if found["support"] else ""))
    for path in made.written:
        echo(f"written       {path}" + (f" ({made.num_moved} rows moved)" if path == out else ""))
