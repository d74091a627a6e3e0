"""The page: a Bokeh document that shows the latest snapshot of a `Watcher`, without computing anything itself."""

import re
import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from bokeh.document import Document
from bokeh.layouts import column, row
from bokeh.models.annotations import ColorBar
from bokeh.models.formatters import NumeralTickFormatter
from bokeh.models.mappers import LinearColorMapper
from bokeh.models.ranges import Range1d
from bokeh.models.sources import ColumnDataSource
from bokeh.models.ui import UIElement
from bokeh.models.widgets.markups import Div
from bokeh.models.widgets.tables import DataTable, NumberFormatter, TableColumn
from bokeh.plotting import figure
from markupsafe import Markup

from lls_decode.pictures.colours import depth_colours, to_srgb
from lls_decode.pipelines.status.run_status import RunStatus, duration

from .strip import COLOURS
from .watcher import Snapshot, Watcher

UPDATE_MS = 1000
_INK, _DIM, _RULE = "#20262b", "#6b757d", "#e3e6e8"
_TEAL, _BLUE, _RED = COLOURS["done"], "#3b6fb6", COLOURS["failed"]
_STATE_COLOURS = {"running": _BLUE, "done": _TEAL, "incomplete": "#b07a00"}
_PICTURE_PX = (460, 420)
"""Largest width and height of the picture, inside of its axes."""
_PICTURE_BORDERS = (58, 80, 52, 8)
"""Borders on the left, right, bottom and top, for axes and colour bar, px."""
_MOST_LOST = 500
"""Largest number of lost blocks in the table; 'status --json' lists all."""


def show_run(document: Document, watcher: Watcher) -> None:
    """Fill a document, and update it as long as its page is open."""
    page = _Page(watcher)
    document.title = "lls-decode"
    document.add_root(page.root)
    page.update()
    watcher.add_viewer()
    document.on_session_destroyed(lambda context: watcher.remove_viewer())
    document.add_periodic_callback(page.update, UPDATE_MS)


class _Page:
    """The parts of one document."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._shown = -1
        self._head = _words(_waiting(watcher.out))
        self._parts = [_strip_part(), _speed_part(), _picture_part(), _worker_part(), _lost_part()]
        strip, speed, picture, workers, lost = (root for root, _ in self._parts)
        self._foot = _words(Markup())
        self.root = column(
            self._head,
            strip,
            row(column(speed, workers, sizing_mode="stretch_width"), picture, sizing_mode="stretch_width", spacing=16),
            lost,
            self._foot,
            sizing_mode="stretch_width",
            styles={"max-width": "1500px", "margin": "0 auto", "padding": "0 12px", "font-family": "sans-serif"},
        )

    def update(self) -> None:
        """Show the latest snapshot, unless it is already shown."""
        snapshot = self._watcher.latest
        if snapshot is None:
            _say(self._head, _waiting(self._watcher.out))
            return
        if snapshot.number == self._shown:
            return
        self._shown = snapshot.number
        _say(self._head, _head(snapshot.status))
        for _, show in self._parts:
            show(snapshot)
        foot = Markup('<div style="color:{};font-size:12px">as of {}, from the files in {}</div>')
        _say(self._foot, foot.format(_DIM, time.strftime("%Y-%m-%d %H:%M:%S"), snapshot.status.out))


Part = tuple[UIElement, Callable[[Snapshot], None]]
"""Element of the page, and the function that shows a snapshot in it."""


def _strip_part() -> Part:
    source = ColumnDataSource({name: [] for name in ("left", "right", "bottom", "top", "colour", "words")})
    plot = _plot(height=130, tooltips=[("volumes", "from @left, before @right"),
                                       ("planes", "from @bottom, before @top"), ("blocks", "@words")])  # fmt: skip
    plot.quad("left", "right", "top", "bottom", source=source, fill_color="colour", line_color=None)
    plot.xaxis.axis_label, plot.yaxis.axis_label = "volume", "plane"
    for axis in (plot.xaxis, plot.yaxis):
        axis.formatter = NumeralTickFormatter(format="0,0")
    plot.yaxis.ticker.desired_num_ticks = 3
    item = Markup(
        '<span style="margin-right:14px"><span style="display:inline-block;width:10px;height:10px;background:{};'
        'border:1px solid #bbb"></span> {}</span>'
    )
    legend = Markup().join(item.format(colour, name) for name, colour in COLOURS.items())
    title = _title("Blocks", legend)

    def show(snapshot: Snapshot) -> None:
        cells = snapshot.cells
        if cells.left:
            plot.x_range.update(start=min(cells.left), end=max(cells.right))
            plot.y_range.update(start=max(cells.top), end=min(cells.bottom))  # planes count downwards, like image rows
            plot.yaxis.visible = max(cells.top) > 1
        source.data = {name: getattr(cells, name) for name in source.data}

    return column(title, plot, sizing_mode="stretch_width"), show


def _speed_part() -> Part:
    source = ColumnDataSource({"time": [], "frames": [], "rows": []})
    plots = []
    for name, colour, label in (("frames", _TEAL, "frames/s"), ("rows", _BLUE, "localizations/s")):
        plot = _plot(height=150, tooltips=[("time", "@time{0.0}"), (label, f"@{name}{{0,0.0}}")])
        plot.x_range.start = 0
        plot.varea("time", 0, name, source=source, fill_color=colour, fill_alpha=0.15)
        plot.line("time", name, source=source, color=colour, line_width=2)
        plot.scatter("time", name, source=source, color=colour, size=4)
        plot.yaxis.axis_label = label
        plot.yaxis.formatter = NumeralTickFormatter(format="0.[0]a")
        plot.yaxis.ticker.desired_num_ticks = 4
        plot.y_range.start = 0
        plots.append(plot)

    def show(snapshot: Snapshot) -> None:
        seconds = snapshot.status.last_at - snapshot.status.started_at if snapshot.status.last_at else 1.0
        divisor, unit = _time_unit(seconds)
        for plot in plots:
            plot.x_range.end = max(seconds, 1.0) / divisor
            plot.xaxis.axis_label = f"{unit} since the latest start"
        for plot, values in zip(plots, (snapshot.frames_per_s, snapshot.rows_per_s), strict=True):
            plot.y_range.end = 1.1 * max(values, default=1.0) or 1.0
        times = [value / divisor for value in snapshot.seconds]
        source.data = {"time": times, "frames": snapshot.frames_per_s, "rows": snapshot.rows_per_s}

    return column(_title("Speed"), *plots, sizing_mode="stretch_width"), show


def _picture_part() -> Part:
    colours = to_srgb(depth_colours().astype(np.float32))
    mapper = LinearColorMapper(palette=[f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours], low=0, high=1)
    source = ColumnDataSource({name: [] for name in ("image", "x", "y", "dw", "dh")})
    left, right, bottom, top = _PICTURE_BORDERS
    plot = _plot(
        width=_PICTURE_PX[0] + left + right,
        height=_PICTURE_PX[1] + bottom + top,
        sizing_mode="fixed",
        min_border_left=left,
        min_border_right=right,
        min_border_bottom=bottom,
        min_border_top=top,
    )
    plot.background_fill_color, plot.grid.visible = "black", False
    plot.image_rgba("image", "x", "y", "dw", "dh", source=source)
    plot.xaxis.axis_label, plot.yaxis.axis_label = "x, µm", "y, µm"
    bar = ColorBar(color_mapper=mapper, width=10, label_standoff=6, major_label_text_color=_DIM, bar_line_color=None)
    bar.formatter = NumeralTickFormatter(format="0,0")
    plot.add_layout(bar, "right")
    title = _title("Found so far")

    def show(snapshot: Snapshot) -> None:
        picture = snapshot.picture
        if picture is None:
            return
        (x0, x1), (y0, y1) = ((low / 1000, high / 1000) for low, high in picture.extent_nm)
        _fit(plot, (x0, x1), (y0, y1))
        mapper.update(low=picture.z_range_nm[0], high=picture.z_range_nm[1])
        height, width = picture.image.shape[:2]
        rgba = np.full((height, width, 4), 255, dtype=np.uint8)
        rgba[..., :3] = picture.image
        source.data = {"image": [rgba.view(np.uint32).reshape(height, width)],
                       "x": [x0], "y": [y0], "dw": [x1 - x0], "dh": [y1 - y0]}  # fmt: skip
        place = "sample coordinates" if picture.sample else "camera coordinates"
        drawn = Markup("{} localizations of {:,} shards, {}; colour is z, nm")
        _say(
            title,
            _title_text("Found so far", drawn.format(_number("drawn", picture.num_rows), picture.num_shards, place)),
        )

    return column(title, plot), show


def _worker_part() -> Part:
    names = ("worker", "blocks", "frames_per_s", "idle", "colour", "last", "gpu")
    source = ColumnDataSource({name: [] for name in names})
    bar = NumberFormatter(format="0.[00]", background_color={"field": "colour"})
    columns = [
        TableColumn(field="worker", title="worker", width=190),
        TableColumn(field="blocks", title="blocks", width=65, formatter=NumberFormatter(format="0,0")),
        TableColumn(field="frames_per_s", title="frames/s", width=120, formatter=bar),
        TableColumn(field="idle", title="idle, %", width=60, formatter=NumberFormatter(format="0")),
        TableColumn(field="last", title="last block", width=80),
        TableColumn(field="gpu", title="GPU memory, GB", width=120),
    ]
    table = _table(source, columns[:-1], height=215)
    title = _title("Workers")

    def show(snapshot: Snapshot) -> None:
        workers = sorted(snapshot.status.workers, key=lambda item: item.frames_per_s)
        fastest = max((item.frames_per_s for item in workers), default=1.0) or 1.0
        on_gpu = any(item.gpu_bytes is not None for item in workers)
        if len(table.columns) != len(columns) - (not on_gpu):
            table.columns = columns if on_gpu else columns[:-1]
        source.data = {
            "worker": [f"{item.worker.rpartition('//')[2]} ({item.pid})" for item in workers],
            "blocks": [item.blocks for item in workers],
            "frames_per_s": [item.frames_per_s for item in workers],
            "idle": [100 * item.idle for item in workers],
            "colour": [f"{_TEAL}{round(128 * item.frames_per_s / fastest):02x}" for item in workers],
            "last": [time.strftime("%H:%M:%S", time.localtime(item.last_at)) for item in workers],
            "gpu": ["" if item.gpu_bytes is None else f"{item.gpu_bytes / 1e9:.2f}" for item in workers],
        }
        idle = (
            ""
            if snapshot.status.idle is None
            else f"idle {100 * snapshot.status.idle:.0f} % of their time, slowest first"
        )
        _say(title, _title_text("Workers", idle))

    return column(title, table, sizing_mode="stretch_width"), show


def _lost_part() -> Part:
    source = ColumnDataSource({name: [] for name in ("block", "frames", "place", "cause", "reason")})
    columns = [
        TableColumn(field="block", title="block", width=80),
        TableColumn(field="frames", title="frames lost", width=90),
        TableColumn(field="place", title="where", width=230),
        TableColumn(field="cause", title="cause", width=120),
        TableColumn(field="reason", title="reason", width=1000),
    ]
    table = _table(source, columns, height=180)
    title = _title("Failures")

    def show(snapshot: Snapshot) -> None:
        lost = snapshot.status.losses
        table.visible = bool(lost)
        words = f"{len(lost)} blocks; rerun the same command to retry them" if lost else "none"
        _say(title, _title_text("Failures", words))
        source.data = {
            "block": [item.block_id for item in lost[:_MOST_LOST]],
            "frames": [item.frames for item in lost[:_MOST_LOST]],
            "place": [item.place for item in lost[:_MOST_LOST]],
            "cause": [item.cause for item in lost[:_MOST_LOST]],
            "reason": [_short(item.reason) for item in lost[:_MOST_LOST]],
        }

    return column(title, table, sizing_mode="stretch_width"), show


def _table(source: ColumnDataSource, columns: list[TableColumn], *, height: int) -> DataTable:
    return DataTable(
        source=source,
        columns=columns,
        height=height,
        sizing_mode="stretch_width",
        index_position=None,
        autosize_mode="none",
    )


def _plot(*, sizing_mode: Literal["stretch_width", "fixed"] = "stretch_width", **options: Any) -> Any:
    plot = figure(
        sizing_mode=sizing_mode,
        toolbar_location=None,
        x_range=Range1d(start=0, end=1),
        y_range=Range1d(start=0, end=1),
        **options,
    )
    plot.outline_line_color = plot.border_fill_color = plot.background_fill_color = None
    plot.grid.grid_line_color = _RULE
    for axis in (plot.xaxis, plot.yaxis):
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_color = axis.major_label_text_color = _DIM
        axis.axis_line_color = axis.major_tick_line_color = _RULE
        axis.minor_tick_line_color = None
    return plot


def _fit(plot: Any, x: tuple[float, float], y: tuple[float, float]) -> None:
    """Set the ranges of a plot to a field, with equal scales and y downwards, as on the camera.

    A very narrow field is widened to remain visible.
    """
    scale = min(_PICTURE_PX[0] / (x[1] - x[0]), _PICTURE_PX[1] / (y[1] - y[0]))
    wide, tall = (max(round((high - low) * scale), 60) for low, high in (x, y))
    left, right, bottom, top = _PICTURE_BORDERS
    plot.update(width=wide + left + right, height=tall + bottom + top)
    plot.x_range.update(start=x[0], end=x[1])
    plot.y_range.update(start=y[1], end=y[0])


def _short(reason: str) -> str:
    """Return the reason of a failure without the position of the block, which has its own column."""
    return re.sub(r"^Block \S+ \(.*?\) failed on \S+: ", "", reason)


def _time_unit(seconds: float) -> tuple[float, str]:
    return (1.0, "seconds") if seconds < 180 else (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")


def _say(place: Div, text: Markup) -> None:
    """Show HTML in an element of the page. Text that is not `Markup` is escaped; all HTML must go through here."""
    place.text = str(Markup.escape(text))


def _words(text: Markup) -> Div:
    found = Div(sizing_mode="stretch_width")
    _say(found, text)
    return found


def _title_text(words: str, rest: str = "") -> Markup:
    return Markup(
        '<div style="font-size:15px;font-weight:600;color:{};margin-top:8px">{}'
        '<span style="font-weight:400;font-size:12px;margin-left:12px">{}</span></div>'
    ).format(_INK, words, rest)


def _title(words: str, rest: str = "") -> Div:
    return _words(_title_text(words, rest))


def _waiting(out: str) -> Markup:
    return Markup('<div style="font-size:16px;padding:16px 0">Waiting for a run in {} …</div>').format(out)


def _number(name: str, value: float, form: str = ",.0f") -> Markup:
    """Return a formatted number as HTML, with its name and value as attributes, so that programs can find it."""
    return Markup('<span data-figure="{}" data-value="{}">{}</span>').format(name, repr(value), format(value, form))


def _head(status: RunStatus) -> Markup:
    state = "merging" if status.merging and status.owner else status.state
    box = Markup(
        '<div style="min-width:105px;padding:6px 18px 6px 0"><div style="font-size:22px;font-weight:600;'
        'white-space:nowrap">{}</div><div style="font-size:12px;color:{}">{}</div></div>'
    )
    return Markup(
        '<div style="color:{ink}"><div style="font-size:18px;font-weight:600;padding-top:10px">{dataset} '
        '<span data-figure="state" data-value="{state}" style="background:{colour};color:white;border-radius:4px;'
        'padding:2px 8px;font-size:13px">{state}</span></div>'
        '<div style="font-size:12px;color:{dim};padding-top:2px">{model} &nbsp;·&nbsp; run {run} &nbsp;·&nbsp; {when}'
        '</div><div style="display:flex;flex-wrap:wrap;padding-top:6px">{boxes}</div></div>'
    ).format(
        ink=_INK,
        dim=_DIM,
        dataset=status.dataset,
        state=state,
        colour=_STATE_COLOURS.get(state, _BLUE),
        model=status.model,
        run=status.run_digest,
        when=_when(status),
        boxes=Markup().join(box.format(figure_, _DIM, words) for figure_, words in _tiles(status)),
    )


def _tiles(status: RunStatus) -> list[tuple[str, str]]:
    """Return the numbers in the head of the page, each with its label."""
    done = status.frames_done / status.frames if status.frames else 0.0
    failed = Markup('<span style="color:{}">{}</span>').format(
        _RED if status.frames_failed else "inherit", _number("blocks_failed", status.blocks_failed)
    )
    return [
        (f"{100 * done:.1f} %", Markup("{} of {:,} frames").format(_count(status, "frames_done"), status.frames)),
        (_count(status, "rows"), "localizations"),
        (_figure("frames_per_s", status.frames_per_s), "frames/s"),
        (_figure("rows_per_s", status.rows_per_s), "localizations/s"),
        (duration(status.left_s) if status.left_s else "-", "to go"),
        (
            Markup("{} / {:,}").format(_count(status, "blocks_done"), status.blocks),
            Markup("blocks done, {} left").format(_count(status, "blocks_left")),
        ),
        (failed, Markup("blocks failed, {} frames lost").format(_count(status, "frames_failed"))),
        (_figure("workers", status.workers_now), f"workers, {status.retries:,} retries"),
    ]


def _count(status: RunStatus, name: str) -> Markup:
    return _number(name, getattr(status, name))


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return _number(name, value, ",.0f" if value >= 100 or float(value).is_integer() else ",.1f")


def _when(status: RunStatus) -> str:
    begun = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.started_at))
    if status.owner is not None:
        return f"started {begun}, {status.owner}"
    end = status.ended_at or status.last_at
    return f"started {begun}" + (f", took {duration(end - status.started_at)}" if end else "")
