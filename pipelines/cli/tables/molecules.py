"""Commands that link, filter or correct rows of tables: link, filter, debias."""

from pathlib import Path

import click

from lls_decode.axes import IndexRange
from lls_decode.errors import ConfigError
from lls_decode.pipelines.cli.guarding import OutputFolder, OutputPath
from lls_decode.pipelines.cli.options import echo, echo_json, json_option, like_option, progress_bar, square_pixel
from lls_decode.pipelines.cli.parameters import IndexRangeType


@click.command(
    short_help="Link localizations of the same molecule.",
    epilog="Example: lls-decode link results/localizations.parquet --gap 1. "
    "Example: lls-decode link imported.parquet --radius-nm 60. "
    "Example: lls-decode link results/localizations.parquet --undo",
)
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--out", type=OutputFolder(), help="Folder to write both files to.  [default: that of TABLE]")
@click.option(
    "--gate", "sigmas", default=4.0, show_default=True,
    help="Largest distance between two localizations of a molecule, in units of their combined sigma.",
)  # fmt: skip
@click.option("--lateral-nm", default=150.0, show_default=True, help="Largest distance in x and y, nm, for any sigmas.")
@click.option("--axial-nm", default=500.0, show_default=True, help="Largest distance in z, nm, for any sigmas.")
@click.option(
    "--radius-nm", type=click.FloatRange(0, min_open=True),
    help="Largest distance in x and y, nm; replaces --gate and --lateral-nm for tables without sigmas.",
)  # fmt: skip
@click.option(
    "--gap", default=1, show_default=True,
    help="Most dark frames (or planes of a volume) between two localizations of a molecule.",
)  # fmt: skip
@click.option(
    "--gap-volumes", default=0, show_default=True, help="Most dark volumes between two localizations of a molecule."
)
@click.option("--within-volumes", is_flag=True, help="Never link localizations of different volumes.")
@click.option("--undo", is_flag=True, help="Remove the molecule numbers from TABLE, and delete molecules.parquet.")
@like_option
@json_option
def link(
    table: Path,
    out: Path | None,
    sigmas: float,
    lateral_nm: float,
    axial_nm: float,
    radius_nm: float | None,
    gap: int,
    gap_volumes: int,
    within_volumes: bool,
    undo: bool,
    as_json: bool,
) -> None:
    """Link localizations of the same molecule in several planes, frames or volumes of TABLE into one row.

    Writes molecules.parquet, and writes the molecule number of each row of TABLE into its column 'group'. Correct drift
    before linking, because drift separates the localizations of a molecule.
    """
    from lls_decode.molecules import Gate, unlink
    from lls_decode.molecules import link as link_table

    if undo:
        echo(f"{unlink(table, out=out)}: molecule numbers removed")
        return
    if radius_nm is not None:
        _refuse_beside_radius()
    gate = Gate(sigmas=sigmas, lateral_nm=lateral_nm, axial_nm=axial_nm, radius_nm=radius_nm)
    volume_gap = None if within_volumes else gap_volumes
    with progress_bar("linking rows") as progress:
        made = link_table(table, out=out, gate=gate, gap=gap, volume_gap=volume_gap, progress=progress)
    if as_json:
        echo_json(vars(made))
        return
    each = f", {made.num_rows / made.num_molecules:.2f} localizations each" if made.num_molecules else ""
    echo(f"{made.molecules}: {made.num_molecules} molecules of {made.num_rows} localizations{each}")
    if not made.weighted:
        echo("not all rows have sigmas: molecule positions are unweighted means, without sigmas")


def _refuse_beside_radius() -> None:
    """Raise if ``--radius-nm`` is combined with an option that it replaces."""
    context = click.get_current_context()
    for name, option in (("sigmas", "--gate"), ("lateral_nm", "--lateral-nm")):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise ConfigError(f"--radius-nm replaces {option}; give only one of them.")


@click.command(
    "filter",
    short_help="Keep the rows of a table that meet conditions.",
    epilog="Example: lls-decode filter results/localizations.parquet good.parquet "
    "--where 'x_sig < 30 and prob > 0.8 and 0 <= z_nm < 500'. "
    "Example: lls-decode filter results/molecules.parquet good.parquet --best 0.5",
)
@click.argument("table", type=click.Path(path_type=Path))
@click.argument("out", type=OutputPath())
@click.option(
    "--where", metavar="CONDITION",
    help="Expression of columns and numbers with comparisons, and or not, + - * / **, abs sqrt log10 isfinite.",
)  # fmt: skip
@click.option("--volumes", type=IndexRangeType(), help="Keep only these volumes, e.g. 3:7 for 3 to 6.")
@click.option("--planes", type=IndexRangeType(), help="Keep only these planes.")
@click.option(
    "--best", type=float, help="Fraction of rows to keep: those with the smallest combined sigma in x, y and z."
)
@click.option(
    "--min-neighbours", type=int, help="Keep rows with at least this many other rows within --radius-nm, in any frame."
)
@click.option("--radius-nm", type=float, help="Radius for --min-neighbours, nm.")
@like_option
@json_option
def filter_rows(
    table: Path,
    out: Path,
    where: str | None,
    volumes: IndexRange | None,
    planes: IndexRange | None,
    best: float | None,
    min_neighbours: int | None,
    radius_nm: float | None,
    as_json: bool,
) -> None:
    """Write the rows of TABLE (localizations or molecules) that meet all conditions to OUT."""
    from lls_decode.molecules import filter_table

    made = filter_table(
        table, out,
        where=where, volumes=volumes, planes=planes, best=best, min_neighbours=min_neighbours, radius_nm=radius_nm,
    )  # fmt: skip
    if as_json:
        echo_json(vars(made))
        return
    echo(f"{made.path}: {made.num_kept} of {made.num_rows} rows")
    if made.sigma_max_nm is not None:
        echo(f"largest combined sigma {made.sigma_max_nm:.4g} nm")
    if made.row_groups_read < made.row_groups:
        echo(f"{made.row_groups_read} of {made.row_groups} row groups read")


@click.command(
    short_help="Correct positions biased towards parts of the pixel.",
    epilog="Example: lls-decode debias results/localizations.parquet even.parquet",
)
@click.argument("table", type=click.Path(path_type=Path))
@click.argument("out", type=OutputPath())
@click.option("--pixel-nm", type=click.FloatRange(0, min_open=True), help="Pixel size, nm.  [default: from the table]")
@like_option
@json_option
def debias(table: Path, out: Path, pixel_nm: float | None, as_json: bool) -> None:
    """Correct positions of TABLE that are biased towards parts of the pixel, using their sub-pixel histograms.

    Needs many molecules spread over the field. Run it before drift correction. Prints how large the bias was and how
    much of it remains.
    """
    from lls_decode.molecules import debias as debias_table
    from lls_decode.pipelines.flows.evaluation import evaluate_subpixel

    if out.exists() and out.samefile(table):
        raise ConfigError(f"{out} is the input table; give another OUT, so that both can be compared.")
    pixel = square_pixel(pixel_nm)
    made = debias_table(table, out, pixel_size=pixel)
    found = [evaluate_subpixel(str(path), pixel_size=pixel) for path in (table, out)]
    if as_json:
        before, after = ([bias.to_dict() for bias in biases] for biases in found)
        echo_json({"path": made.path, "rms_shift_nm": made.rms_shift_nm, "before": before, "after": after})
        return
    echo(f"{made.path}: moved by {made.rms_shift_nm[0]:.2f} nm along x, {made.rms_shift_nm[1]:.2f} along y (r.m.s.)")
    for before, after in zip(*found, strict=True):
        echo(
            f"sub-pixel {before.axis}    modulation {before.modulation:+.4f} -> {after.modulation:+.4f} ± "
            f"{after.modulation_error:.4f}  amplitude {before.amplitude:.4f} -> {after.amplitude:.4f}"
        )
