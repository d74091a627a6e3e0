"""Simulation ahead of the training step: while a step runs, a thread makes the batch of the next one.

On a CUDA device it works on a stream of its own, so that the many small kernels of the simulation, and its waits for
the device, fall into the time of the step. The numbers are those of making each batch when it is wanted.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from lls_decode.config import TrainingConfig
from lls_decode.simulate import TrainingBatch, simulate_batch

T = TypeVar("T")

AHEAD_ON = ("cuda",)
"""Kinds of device where it pays. On a CPU the step wants the cores itself, and the simulation is 2 % of it: there is no
difference, with one thread or with two."""


def batch_source(make: Callable[[torch.Generator], T], generator: torch.Generator) -> Callable[[], T]:
    """A function that gives the next batch of a generator, made ahead where that pays."""
    if generator.device.type in AHEAD_ON:
        return BatchesAhead(make, generator).take
    return partial(make, generator)


def simulate_step(config: TrainingConfig, generator: torch.Generator) -> TrainingBatch:
    """The fresh frames of one training step."""
    return simulate_batch(
        config.simulation,
        context=config.network.context,
        num_sequences=config.sequences,
        sequence_frames=config.sequence_frames,
        height=config.crop_px,
        width=config.crop_px,
        generator=generator,
        variety=config.variety,
    )


@dataclass(frozen=True)
class _Made(Generic[T]):
    """One batch, and what must be known to use it."""

    batch: T
    before: Tensor
    """State of the generator that it was made from."""
    after: Tensor
    ready: torch.cuda.Event | None
    """On a CUDA device: when its tensors are filled."""


class BatchesAhead(Generic[T]):
    """Batches of `make`, each begun when the one before it is taken.

    ``generator`` is in the state from before the next batch whenever `take` is not running: stored in a checkpoint, it
    makes those batches again that were made and not taken. When it is set to another state, batches go on from there.
    """

    def __init__(self, make: Callable[[torch.Generator], T], generator: torch.Generator) -> None:
        self._make = make
        self._generator = generator
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="simulation")
        self._stream: torch.cuda.Stream | None = None
        if generator.device.type == "cuda":
            self._stream = torch.cuda.Stream(generator.device)  # type: ignore[no-untyped-call]
        self._next: Future[_Made[T]] | None = None

    def take(self) -> T:
        """The next batch; waits for it when it is not ready."""
        state = self._generator.get_state()
        made = None if self._next is None else self._next.result()
        if made is None or not torch.equal(made.before, state):
            made = self._thread.submit(self._make_from, state).result()
        self._generator.set_state(made.after)
        self._next = self._thread.submit(self._make_from, made.after)
        if made.ready is not None:
            current = torch.cuda.current_stream(self._generator.device)
            current.wait_event(made.ready)
            for tensor in _tensors(made.batch):
                tensor.record_stream(current)  # its memory belongs to the other stream, and is in use in this one
        return made.batch

    def _make_from(self, state: Tensor) -> _Made[T]:
        own = torch.Generator(self._generator.device).set_state(state)
        if self._stream is None:
            return _Made(self._make(own), state, own.get_state(), None)
        with torch.cuda.stream(self._stream):
            batch = self._make(own)
            return _Made(batch, state, own.get_state(), self._stream.record_event())


def _tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor of a record of records."""
    if isinstance(value, Tensor):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from _tensors(getattr(value, field.name))
