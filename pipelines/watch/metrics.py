"""Metrics of runs for Prometheus: as text, and as a collector for a program that has its own registry."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lls_decode.pipelines.status.run_status import RunStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "lls_decode_"


@dataclass
class Family:
    """One metric, for several runs and states. All metrics are gauges, because a resumed run may count from zero."""

    name: str
    words: str
    """Help text."""
    samples: list[tuple[dict[str, str], float]] = field(default_factory=list)
    """Labels and value of each sample."""


def families(runs: Iterable[RunStatus]) -> list[Family]:
    """Return the metrics of runs; the label ``run`` of each sample is the run folder."""
    found: dict[str, Family] = {}

    def add(name: str, words: str, value: float | None, **labels: str) -> None:
        if value is not None:
            found.setdefault(name, Family(PREFIX + name, words)).samples.append((labels, float(value)))

    for run in runs:
        out = run.out
        add("run_active", "1 while a program works on the run.", float(run.owner is not None), run=out)
        for state, number in (("done", run.blocks_done), ("failed", run.blocks_failed), ("left", run.blocks_left)):
            add("blocks", "Blocks by state.", number, run=out, state=state)
        frames_left = run.frames - run.frames_done - run.frames_failed
        for state, number in (("done", run.frames_done), ("lost", run.frames_failed), ("left", frames_left)):
            add("frames", "Frames by state.", number, run=out, state=state)
        add("rows", "Localizations in finished shards.", run.rows, run=out)
        add("shard_bytes", "Size of finished shards.", run.shard_bytes, run=out)
        add("retries", "Number of retries of blocks.", run.retries, run=out)
        add("workers", "Present number of workers.", run.workers_now, run=out)
        add("frames_per_second", "Frames per second over the last minutes.", run.frames_per_s, run=out)
        add("rows_per_second", "Localizations per second over the last minutes.", run.rows_per_s, run=out)
        add("left_seconds", "Estimated remaining time at this speed.", run.left_s, run=out)
        add("idle_ratio", "Fraction of the workers' time without computing.", run.idle, run=out)
        for worker in run.workers:
            name = f"{worker.worker} {worker.pid}"
            add("worker_frames_per_second", "Frames per second.", worker.frames_per_s, run=out, worker=name)
            add("worker_idle_ratio", "Fraction of time without computing.", worker.idle, run=out, worker=name)
            add("worker_gpu_bytes", "Peak GPU memory of the network.", worker.gpu_bytes, run=out, worker=name)
    return list(found.values())


def exposition(runs: Iterable[RunStatus]) -> str:
    """Return the metrics in the text format of Prometheus (0.0.4)."""
    lines = []
    for family in families(runs):
        lines += [f"# HELP {family.name} {family.words}", f"# TYPE {family.name} gauge"]
        for labels, value in family.samples:
            inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            lines.append(f"{family.name}{{{inside}}} {value!r}")
    return "\n".join(lines) + "\n"


class Collector:
    """Collector that adds the metrics to a registry of ``prometheus_client``, such as that of a Dask scheduler."""

    def __init__(self, runs: Callable[[], Iterable[RunStatus]]) -> None:
        self.runs = runs

    def collect(self) -> Iterator[Any]:
        """Yield the metrics; called by the registry."""
        from prometheus_client.core import GaugeMetricFamily

        for family in families(self.runs()):
            labels = list(family.samples[0][0])
            metric = GaugeMetricFamily(family.name, family.words, labels=labels)
            for values, value in family.samples:
                metric.add_metric([values[name] for name in labels], value)
            yield metric

    def describe(self) -> Iterator[Any]:
        """Return no descriptions, since there are no metrics before the first run.

        Without this method, a registry would call `collect` when the collector is registered.
        """
        return iter(())


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
