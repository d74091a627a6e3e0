"""Frames reach the device once each, whichever batches are taken, and the next batch is copied ahead."""

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import pytest
import torch

from lls_decode.localize.transfer import FrameTransfer

CPU = torch.device("cpu")
FRAMES = np.arange(10 * 2 * 3, dtype=np.uint16).reshape(10, 2, 3)


class Counting(FrameTransfer):
    """Transfer that lists the frames that it copies."""

    def __init__(self) -> None:
        super().__init__(FRAMES, CPU)
        self.copied: list[range] = []

    def _copy(self, frames: range) -> torch.Tensor:
        self.copied.append(frames)
        return super()._copy(frames)


BATCHES: dict[str, tuple[list[range], list[range]]] = {
    "equal batches and a rest": (
        [range(4), range(4, 8), range(8, 10)],
        [range(4), range(4, 8), range(8, 10)],
    ),
    "a batch that does not fit is taken again": (
        [range(4), range(4, 8), range(4, 6), range(6, 8), range(8, 10)],
        [range(4), range(4, 8), range(8, 10), range(4, 6), range(6, 8), range(8, 10)],
    ),
    "a shorter batch uses the start of the copy": (
        [range(4), range(4, 5), range(5, 6)],
        [*(range(4), range(4, 8)), range(5, 6), range(6, 7)],
    ),
    "one batch": ([range(10)], [range(10)]),
}


@pytest.mark.parametrize(("batches", "copied"), BATCHES.values(), ids=BATCHES)
def test_taken_frames_are_those_of_the_stack_and_copied_ahead(batches: list[range], copied: list[range]) -> None:
    transfer = Counting()
    for frames in batches:
        counts = transfer.take(frames)
        assert np.array_equal(counts.numpy(), FRAMES[frames.start : frames.stop])
        transfer.copy_ahead(frames)
    assert transfer.copied == copied


def test_a_gpu_copies_from_pinned_memory_beside_the_computation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls to CUDA are recorded here instead of executed."""
    calls: list[str] = []

    class Stream:
        def wait_stream(self, other: "Stream") -> None:
            calls.append("wait" if (self, other) == (current, beside) else "wrong")

    current, beside = Stream(), Stream()

    def on(stream: Stream) -> AbstractContextManager[None]:
        calls.append("beside" if stream is beside else "wrong")
        return nullcontext()

    def pin(counts: torch.Tensor) -> torch.Tensor:
        calls.append("pin")
        return counts.clone()

    def record(counts: torch.Tensor, stream: Stream) -> None:
        calls.append("record" if stream is current else "wrong")

    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current)
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "record_stream", record)
    transfer = FrameTransfer(FRAMES, CPU)
    transfer._stream = beside
    for frames in (range(6), range(6, 10)):
        assert np.array_equal(transfer.take(frames).numpy(), FRAMES[frames.start : frames.stop])
        calls.append("encode")
        transfer.copy_ahead(frames)
    copy = ["beside", "pin"]
    assert calls == [*copy, "wait", "record", "encode", *copy, "wait", "record", "encode"]
