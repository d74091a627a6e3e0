"""The sections of a report, each with its numbers and charts."""

import math
from collections.abc import Iterable
from pathlib import Path

import yaml
from markupsafe import Markup

from lls_decode.evaluate import CutCounts, FourierCorrelation, SubpixelBias, TableSummary
from lls_decode.evaluate.counts import ValueCounts
from lls_decode.pictures.drawing_plan import Rendering
from lls_decode.pipelines.flows.table_inspection import describe_step
from lls_decode.pipelines.journal.record import RunRecord
from lls_decode.pipelines.status.run_status import FailedBlock, RunStatus
from lls_decode.table import TableMetadata

from . import figures, html
from .repeat import command, snippets
from .survey import CameraCounts, Coverage, Survey
from .throughput import Throughput

_MOST_FAILED = 200
_UNITS = {"photons": "photons", "bg": "photons/pixel", "phot_sig": "photons", "prob": ""}


def verdict(status: RunStatus, rows: str | None) -> Markup:
    """Say in a sentence or two how the run ended; ``rows`` names the number and kind of rows of the table."""
    blocks = f"{status.blocks:,} block" + ("s" if status.blocks != 1 else "")
    found = rows or "no table was merged yet"
    if status.blocks_done == status.blocks and not status.frames_failed:
        return html.verdict(f"Complete: all {blocks}, {status.frames:,} frames, are done; {found}.", good=True)
    parts = [f"{status.blocks_done:,} of {blocks} are done; {found}."]
    if status.blocks_failed:
        parts.append(f"{status.blocks_failed:,} failed: {status.frames_failed:,} of {status.frames:,} frames are lost.")
    elif status.frames_failed:
        parts.append(f"{status.frames_failed:,} of {status.frames:,} frames are lost.")
    if status.blocks_left:
        parts.append(f"{status.blocks_left:,} are left.")
    return html.verdict(f"Incomplete: {' '.join(parts)} Rerun the same command to resume.", good=False)


def overview(record: RunRecord, status: RunStatus, table: Path | None) -> Markup:
    """List the properties that identify the run."""
    layout = record.layout
    size = (
        f"{layout.num_volumes:,} volumes x {layout.planes_per_volume:,} planes of {layout.height} x {layout.width} px"
    )
    return html.facts(
        [
            ("dataset", record.dataset),
            ("size", size),
            ("frames", f"{status.frames:,}"),
            ("frames done", f"{status.frames_done:,}"),
            ("frames lost", f"{status.frames_failed:,}"),
            *([("frames filled", f"{status.frames_filled:,}")] if status.frames_filled else []),
            ("blocks done", f"{status.blocks_done:,} of {status.blocks:,}"),
            ("blocks failed", f"{status.blocks_failed:,}"),
            ("model", f"{record.model.name} ({record.model.digest})"),
            ("detection", record.config.detection.describe()),
            ("arithmetic", status.dtype),
            *([("machines", ", ".join(status.devices))] if status.devices else []),
            *([("network", status.network)] if status.network else []),
            ("table", table or "none"),
            ("run", record.run_digest),
        ]
    )


def failures(failed: Iterable[FailedBlock]) -> Markup:
    """List the lost frames and the reasons."""
    lost = list(failed)
    rows = [
        (item.block_id, f"{item.frames:,}", _span(item.volumes), _span(item.planes), f"{item.cause}: {item.reason}")
        for item in lost[:_MOST_FAILED]
    ]
    parts = [html.table(("block", "frames lost", "volumes", "planes", "reason"), rows, of_words=True)]
    if len(lost) > _MOST_FAILED:
        parts.append(html.words(f"And {len(lost) - _MOST_FAILED:,} more; 'lls-decode status --json' lists all."))
    return html.section("Lost frames", parts)


def images(drawn: Iterable[tuple[str, Rendering, bytes]], kind: str, *, has_z: bool = True) -> Markup:
    """Show the reconstruction."""
    parts = []
    for view, shown, image in drawn:
        (left, right), (top, bottom) = shown.extent_nm
        hue = ", coloured by z" if has_z else ""
        if shown.channels:
            hue = f", in colours for {', '.join(shown.channels)}"
        caption = (
            f"{shown.num_drawn:,} {kind}, {view}, {shown.coords} coordinates, {(right - left) / 1000:.1f} x "
            f"{(bottom - top) / 1000:.1f} µm; the width of each spot is its predicted sigma{hue}"
        )
        caption += "".join(f"; {note}" for note in shown.notes)
        parts.append(html.picture(image, caption, dark=True))
    return html.section("Reconstruction", parts)


def counts(summary: TableSummary, done: Coverage, kind: str) -> Markup:
    """Show the number of rows over the acquisition and over the sweep; molecules count in their first frame."""
    planes = len(done.by_plane)
    unit = "frame" if planes == 1 else "volume"
    per_frame = summary.rows / max(done.frames, 1)
    parts = [
        html.facts(
            [
                (kind, f"{summary.rows:,}"),
                *([] if planes == 1 else [("per volume", f"{per_frame * planes:,.1f}")]),
                ("per frame", f"{per_frame:,.1f}"),
                *(
                    [("linked to molecules", f"{summary.num_grouped:,}")]
                    if summary.num_grouped and kind == "localizations"
                    else []
                ),
            ]
        )
    ]
    image = figures.over_volumes(summary.by_volume, done.volumes, unit=unit)
    charts = [html.picture(image, f"{kind} per {unit}, over the acquisition")]
    if planes > 1:
        image = figures.over_planes(summary.by_plane, done.by_plane)
        charts.append(html.picture(image, f"{kind} per frame, over the sweep"))
    return html.section("Counts", [*parts, html.grid(charts)])


def values(summary: TableSummary) -> Markup:
    """Show medians and histograms of photons, background, depth and predicted precision."""
    columns = summary.columns
    rows = [
        (name, *(_number(value) for value in _spread(item)), _UNITS.get(name, "nm"))
        for name, item in columns.items()
        if item.num
    ]
    charts = []
    for names, label, zero, caption in (
        (("photons",), "photons", True, "photons"),
        (("bg",), "photons/pixel", True, "background"),
        (("x_sig", "y_sig", "z_sig"), "nm", True, "predicted precision (1 sigma)"),
        (("z_nm",), "nm", False, "depth, z_nm"),
    ):
        held = {name: columns[name] for name in names if name in columns and columns[name].num}
        if held:
            image = figures.distribution(held, label, zero=zero)
            charts.append(html.picture(image, f"{caption}; dashed: median; the outermost 1 % of values is not shown"))
    head = ("column", "median", "5 %", "95 %", "smallest", "largest", "unit")
    return html.section("Values", [html.table(head, rows), html.grid(charts)])


def probability(summary: TableSummary) -> Markup:
    """Show the detection probabilities, and how many detections they let expect to be right."""
    item, rows = summary.columns["prob"], max(summary.rows, 1)
    right = summary.sum_prob
    parts = [
        html.facts(
            [
                ("mean probability", f"{right / rows:.3f}"),
                ("expected to be right", f"{right:,.0f} of {summary.rows:,}"),
                ("expected to be wrong", f"{summary.rows - right:,.0f} ({1 - right / rows:.1%})"),
            ]
        ),
        html.words(
            "The number expected to be right is the sum of the probabilities, each at most 1. It holds if the network "
            "is calibrated for these data; 'lls-decode spike-in' tests that on the data themselves."
        ),
        html.picture(
            figures.distribution({"prob": item}, "integrated detection probability", central=1.0, zero=False),
            "detection probability, summed over neighbouring pixels; dashed: median",
        ),
    ]
    return html.section("Probability", parts)


def artefacts(survey: Survey, camera: CameraCounts | None) -> Markup:
    """Show possible artefacts: preferred positions within the pixel, and seams between tiles and between blocks."""
    facts: list[tuple[str, str]] = []
    charts = []
    if camera is not None:
        facts += [(f"sub-pixel modulation, {item.axis}", _modulation(item)) for item in camera.bias]
        charts += [
            html.picture(
                figures.field(camera.field, camera.tile_cuts), f"field of the camera, {_bins(camera.field.bin_px)}"
            ),
            html.picture(figures.subpixel(camera.bias), "sub-pixel bias: flat when no part of the pixel is preferred"),
        ]
    cuts = _cuts(survey, camera)
    facts += [(f"beside cuts, {name}", _ratio(item)) for name, item in cuts.items()]
    if survey.block_cuts is None:
        facts.append(("between blocks", "no seams: each block has a whole sequence of frames"))
    if camera is not None and camera.tile_cuts is None:
        facts.append(("between tiles", "not compared: frames were processed whole, or only a part of the field was"))
    drawable = {name: item for name, item in cuts.items() if item.ratio > 0}
    if drawable:
        charts.append(
            html.picture(figures.cuts(drawable), "seams: localizations beside the cuts between blocks and tiles")
        )
    about = (
        "Number of localizations next to a cut, relative to the number 2 to 7 frames (pixels) away from it: 1 without "
        "a seam. The error is one standard deviation, assuming independent localizations."
    )
    return html.section(
        "Possible artefacts", [html.facts(facts), *([html.words(about)] if cuts else []), html.grid(charts)]
    )


def history(metadata: TableMetadata) -> Markup:
    """List the processing steps of the table after its run, such as drift correction, linking and filters."""
    lines = [
        (str(step.get("step", "unknown")), describe_step(step).partition(": ")[2] or "-") for step in metadata.history
    ]
    return html.section("Processed since the run", [html.facts(lines)])


def resolution(curve: FourierCorrelation | str) -> Markup:
    """Show the Fourier ring correlation, or say why there is none."""
    if isinstance(curve, str):
        return html.section("Resolution", [html.words(curve)])
    one, other = curve.num_localizations
    if not math.isnan(curve.resolution_nm):
        found = "; ".join(curve.describe())
    elif curve.reaches_threshold:
        found = f"finer than {2 * curve.pixel_nm:.0f} nm, two pixels of the picture"
    else:
        found = "none better than a tenth of the field: the halves are not correlated"
    parts = [
        html.facts([("Fourier ring correlation", found), ("rows in the halves", f"{one:,} and {other:,}")]),
        html.picture(figures.fourier(curve), "even against odd blocks of volumes, seen from above; dashed: 1/7"),
    ]
    return html.section("Resolution", parts)


def speed(found: Throughput, status: RunStatus) -> Markup:
    """Show the speed of the run and how the workers spent their time."""
    total = sum(found.work_s.values()) or 1.0
    parts = [
        html.facts(
            [
                ("frames/s", _number(found.mean_frames_per_s)),
                ("working time", _duration(found.working_s)),
                ("starts", found.starts),
                ("worker processes", found.workers),
                ("retries", status.retries),
                *((name, f"{_duration(seconds)} ({seconds / total:.1%})") for name, seconds in found.work_s.items()),
                *([("merging", _duration(found.merge_s))] if found.merge_s is not None else []),
                ("shards", f"{status.shard_bytes / 1e6:,.1f} MB"),
            ]
        ),
        html.picture(figures.speed(found), "frames per second; the time between starts is left out"),
    ]
    return html.section("Speed", parts)


def origin(record: RunRecord, out: Path) -> Markup:
    """Show versions, model, notes, and the command that repeats the run."""
    metadata = record.table_metadata
    model = {name: value for name, value in metadata.model.items() if name != "training"}
    parts = [
        html.facts([*record.software.items(), ("input digest", metadata.input.get("identity")), ("host", record.host)]),
        *(html.words(f"Note: {note}") for note in record.notes),
        html.words("To produce the same table again, with its configuration:"),
        html.code(command(record, out)),
        html.folded("The model", html.code(yaml.safe_dump(model, sort_keys=False))),
    ]
    return html.section("How it was made", parts)


def reading(table: Path) -> Markup:
    """Show how other programs read the table."""
    parts = []
    for program, text in snippets(table).items():
        parts += [html.words(program), html.code(text)]
    return html.section("Reading the table", parts)


def _cuts(survey: Survey, camera: CameraCounts | None) -> dict[str, CutCounts]:
    found = {} if survey.block_cuts is None else {"blocks (frames)": survey.block_cuts}
    if camera is not None and camera.tile_cuts is not None:
        names = ("tiles, x (pixels)", "tiles, y (pixels)")
        found |= {name: item for name, item in zip(names, camera.tile_cuts, strict=True) if item.num_cuts}
    return found


def _ratio(item: CutCounts) -> str:
    if not item.ratio > 0:
        return "too few localizations to say"
    return f"{item.ratio:.3f} ± {item.ratio_error:.3f}, at {item.num_cuts:,} cuts"


def _modulation(item: SubpixelBias) -> str:
    return f"{item.modulation:+.3f} ± {item.modulation_error:.3f}"


def _bins(bin_px: int) -> str:
    return "pixel by pixel" if bin_px == 1 else f"in bins of {bin_px} x {bin_px} pixels"


def _spread(item: ValueCounts) -> tuple[float, ...]:
    return item.quantile(0.5), item.quantile(0.05), item.quantile(0.95), item.low, item.high


def _number(value: float) -> str:
    """Format a number with four significant digits, or as an integer from 1000 on."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _span(ends: tuple[int, int]) -> str:
    return f"{ends[0]:,}" if ends[1] - ends[0] == 1 else f"{ends[0]:,} to {ends[1] - 1:,}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
