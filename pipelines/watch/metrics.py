"""Figures of runs for Prometheus: its text format, and a collector for a program that has a registry of its own."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lls_decode.pipelines.status.run_status import RunStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "lls_decode_"


@dataclass
class Family:
    """One figure, for several runs and states. All are gauges: a run that is resumed may count anew."""

    name: str
    words: str
    samples: list[tuple[dict[str, str], float]] = field(default_factory=list)
    """Labels and value."""


def families(runs: Iterable[RunStatus]) -> list[Family]:
    """Figures of runs; each sample names its run's folder."""
    found: dict[str, Family] = {}

    def add(name: str, words: str, value: float | None, **labels: str) -> None:
        if value is not None:
            found.setdefault(name, Family(PREFIX + name, words)).samples.append((labels, float(value)))

    for run in runs:
        out = run.out
        add("run_active", "1 while a program works at the run.", float(run.owner is not None), run=out)
        for state, number in (("done", run.blocks_done), ("failed", run.blocks_failed), ("left", run.blocks_left)):
            add("blocks", "Blocks by state.", number, run=out, state=state)
        frames_left = run.frames - run.frames_done - run.frames_failed
        for state, number in (("done", run.frames_done), ("lost", run.frames_failed), ("left", frames_left)):
            add("frames", "Frames by state.", number, run=out, state=state)
        add("rows", "Localizations in finished shards.", run.rows, run=out)
        add("shard_bytes", "Size of finished shards.", run.shard_bytes, run=out)
        add("retries", "Times that blocks were tried again.", run.retries, run=out)
        add("workers", "Workers at the moment.", run.workers_now, run=out)
        add("frames_per_second", "Frames a second over the last minutes.", run.frames_per_s, run=out)
        add("rows_per_second", "Localizations a second over the last minutes.", run.rows_per_s, run=out)
        add("left_seconds", "Time to go at this speed.", run.left_s, run=out)
        add("idle_ratio", "Share of the workers' time without computing.", run.idle, run=out)
        for worker in run.workers:
            name = f"{worker.worker} {worker.pid}"
            add("worker_frames_per_second", "Frames a second.", worker.frames_per_s, run=out, worker=name)
            add("worker_idle_ratio", "Share of time without computing.", worker.idle, run=out, worker=name)
            add("worker_gpu_bytes", "Most GPU memory of the network.", worker.gpu_bytes, run=out, worker=name)
    return list(found.values())


def exposition(runs: Iterable[RunStatus]) -> str:
    """The text that Prometheus reads (format 0.0.4)."""
    lines = []
    for family in families(runs):
        lines += [f"# HELP {family.name} {family.words}", f"# TYPE {family.name} gauge"]
        for labels, value in family.samples:
            inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            lines.append(f"{family.name}{{{inside}}} {value!r}")
    return "\n".join(lines) + "\n"


class Collector:
    """Adds the figures to a registry of ``prometheus_client``, such as that of a Dask scheduler."""

    def __init__(self, runs: Callable[[], Iterable[RunStatus]]) -> None:
        self.runs = runs

    def collect(self) -> Iterator[Any]:
        """What a registry asks for."""
        from prometheus_client.core import GaugeMetricFamily

        for family in families(self.runs()):
            labels = list(family.samples[0][0])
            metric = GaugeMetricFamily(family.name, family.words, labels=labels)
            for values, value in family.samples:
                metric.add_metric([values[name] for name in labels], value)
            yield metric

    def describe(self) -> Iterator[Any]:
        """Nothing is known before there are runs; without this, a registry collects when it is registered."""
        return iter(())


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
