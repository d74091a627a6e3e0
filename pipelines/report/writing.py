"""Write the report of a run from its folder and its table."""

import logging
import math
from collections.abc import Iterator
from pathlib import Path

from markupsafe import Markup

from lls_decode.drawing import need_matplotlib
from lls_decode.errors import InputError, LlsDecodeError
from lls_decode.evaluate import FourierCorrelation, TableSummary
from lls_decode.outputs import guarded
from lls_decode.pipelines.flows.evaluation import frc
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.journal.record import RunRecord
from lls_decode.pipelines.status.reader import read_status
from lls_decode.pipelines.status.run_status import RunStatus
from lls_decode.system import real_path
from lls_decode.table import TableMetadata, read_metadata, written_aside

from . import html, sections
from .pictures import reconstruction
from .survey import Survey, survey_table
from .throughput import read_throughput

MOST_FRC_ROWS = 2_000_000
"""Largest number of rows for which the report computes a Fourier ring correlation."""
_FEWEST_FRC_ROWS = 1000
_FRC_SIDE_PX = 2048
_FRC_PIXEL_NM = 5.0

logger = logging.getLogger(__name__)


@guarded
def write_report(out: str | Path, *, table: str | Path | None = None, to: str | Path | None = None) -> Path:
    """Write the report of a run as one self-contained HTML file.

    The report contains the outcome, pictures, statistics, lost frames, speed, and the command that repeats the run. The
    table is read once for all statistics, and twice for each picture. Memory does not grow with the table.

    Parameters
    ----------
    out
        Run folder.
    table
        Table of this run; None: ``localizations.parquet`` in the folder. Without a table, the report omits the sections
        that need it.
    to
        Path of the report; None: ``report.html`` in the folder.

    Returns
    -------
    Path
        Path of the report.

    Raises
    ------
    ConfigError
        matplotlib is not installed.
    InputError
        The folder contains no run, or the table belongs to another run.
    TableError
        The table cannot be read.
    OutputError
        The file cannot be written.
    """
    need_matplotlib("A report needs")
    out = Path(out)
    folder = RunFolder(out)
    path = Path(table) if table is not None else folder.table if folder.table.exists() else None
    target = Path(to) if to is not None else out / "report.html"
    text = html.page(f"{real_path(out).name}: lls-decode", _parts(folder, path))
    with written_aside(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target


def report_if_possible(out: str | Path) -> Path | None:
    """Write the report of a run that has just ended, unless the existing report is up to date.

    If the report cannot be written, a warning is logged and None is returned, because the table is complete anyway.
    """
    folder = RunFolder(Path(out))
    target = folder.out / "report.html"
    try:
        shown = [path.stat().st_mtime_ns for path in (folder.table, *folder.files_of("ledger"))]
        if target.exists() and target.stat().st_mtime_ns > max(shown):
            return target
        return write_report(out)
    except Exception as error:  # a run must not fail because of its report
        logger.warning("the report was not written: %s", " ".join(str(error).split()) or type(error).__name__)
        return None


def _parts(folder: RunFolder, table: Path | None) -> Iterator[Markup]:
    """Yield the parts of the page from top to bottom."""
    record = folder.read_run()
    status, throughput = read_status(folder.out), read_throughput(folder)
    metadata = _metadata(table, status) if table is not None else None
    survey = _survey(record, table, metadata) if table is not None and metadata is not None else None
    yield html.heading(Path(record.dataset).name)
    yield sections.verdict(status, f"{survey.summary.rows:,} {metadata.kind}" if survey and metadata else None)
    yield sections.overview(record, status, table)
    if status.losses:
        yield sections.failures(status.losses)
    if table is not None and metadata is not None and survey is not None:
        yield from _table_parts(table, metadata, survey)
    if throughput is not None:
        yield sections.speed(throughput, status)
    yield sections.origin(record, folder.out)
    if table is not None:
        yield sections.reading(table)


def _table_parts(table: Path, metadata: TableMetadata, survey: Survey) -> Iterator[Markup]:
    """Yield the sections about the rows of a table."""
    summary = survey.summary
    if metadata.history:
        yield sections.history(metadata)
    if not summary.rows:
        return
    yield sections.images(reconstruction(table, summary), metadata.kind, has_z="z_nm" in summary.columns)
    yield sections.counts(summary, survey.coverage, metadata.kind)
    yield sections.values(summary)
    if metadata.kind == "localizations":
        yield sections.probability(summary)
        yield sections.artefacts(survey, survey.camera)
    yield sections.resolution(_resolution(table, summary))


def _metadata(table: Path, status: RunStatus) -> TableMetadata:
    metadata = read_metadata(table)
    if metadata.run_digest != status.run_digest:
        raise InputError(
            f"{table} is a table of the run {metadata.run_digest or '(unknown)'}, but {status.out} contains the run "
            f"{status.run_digest}; give a table of this run, or the folder of the other run."
        )
    return metadata


def _survey(record: RunRecord, table: Path, metadata: TableMetadata) -> Survey:
    config = record.config
    # 0 for a region of interest: its tiles begin at its halo, so the cuts are elsewhere than the survey assumes
    tile_px = config.compute.tile_px if config.part.roi is None else 0
    return survey_table(
        table, metadata, layout=record.layout, context=record.context, blocks=record.plan_blocks(), tile_px=tile_px
    )


def _resolution(table: Path, summary: TableSummary) -> FourierCorrelation | str:
    """Return the Fourier ring correlation, or a sentence that says why the report has none."""
    if not _FEWEST_FRC_ROWS <= summary.rows <= MOST_FRC_ROWS or summary.volumes is None:
        return (
            f"The report computes a Fourier ring correlation for {_FEWEST_FRC_ROWS:,} to {MOST_FRC_ROWS:,} rows, "
            f"but there are {summary.rows:,}; 'lls-decode frc' computes it for any table."
        )
    first, last = summary.volumes
    blocks = min(10, (last - first + 1) // 2 * 2)
    if blocks < 2:
        return "A Fourier ring correlation needs at least two volumes."
    names = ("xs_nm", "ys_nm") if "xs_nm" in summary.columns else ("x_nm", "y_nm")
    longest = max(summary.columns[name].high - summary.columns[name].low for name in names)
    pixel_nm = max(_FRC_PIXEL_NM, math.ceil(longest / _FRC_SIDE_PX))
    try:
        return frc(table, pixel_nm=pixel_nm, blocks=blocks)
    except LlsDecodeError as error:
        return f"There is no Fourier ring correlation: {error}"
