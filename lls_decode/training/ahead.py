"""Simulation ahead of training: while a step runs, a thread simulates the batch of the next step.

On a CUDA device the thread uses its own stream, so that the many small kernels of the simulation, and its waits for
the device, overlap with the step. The results are the same as without simulating ahead.
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
"""Device types on which batches are simulated ahead. On a CPU this has no benefit: the step itself uses all cores, and
the simulation takes only 2 % of its time."""


def batch_source(make: Callable[[torch.Generator], T], generator: torch.Generator) -> Callable[[], T]:
    """Return a function that returns the next batch of a generator, simulated ahead where that is faster."""
    if generator.device.type in AHEAD_ON:
        return BatchesAhead(make, generator).take
    return partial(make, generator)


def simulate_step(config: TrainingConfig, generator: torch.Generator) -> TrainingBatch:
    """Simulate the batch of one training step."""
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
    """Batch simulated ahead, with the random state before and after it."""

    batch: T
    before: Tensor
    """State of the generator before the batch."""
    after: Tensor
    """State of the generator after the batch."""
    ready: torch.cuda.Event | None
    """Event after which the tensors are filled, on a CUDA device; None on other devices."""


class BatchesAhead(Generic[T]):
    """Source of batches of `make` that starts to make each batch when the previous one is taken.

    Whenever `take` is not running, ``generator`` has the state before the next batch. A checkpoint with this state
    therefore reproduces batches that were made but not taken. After setting another state, batches continue from it.
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
        """Return the next batch, waiting until it is ready."""
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
                tensor.record_stream(current)  # memory of the other stream that this stream uses
        return made.batch

    def _make_from(self, state: Tensor) -> _Made[T]:
        own = torch.Generator(self._generator.device).set_state(state)
        if self._stream is None:
            return _Made(self._make(own), state, own.get_state(), None)
        with torch.cuda.stream(self._stream):
            batch = self._make(own)
            return _Made(batch, state, own.get_state(), self._stream.record_event())


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield every tensor in nested dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from _tensors(getattr(value, field.name))
