"""Batches simulated in advance equal batches simulated on demand; stopping loses none and repeats none."""

import threading

import pytest
import torch
from torch import Tensor

from lls_decode.training import ahead
from lls_decode.training.ahead import BatchesAhead, batch_source

WAIT_S = 60.0


def numbers(generator: torch.Generator) -> Tensor:
    return torch.rand(3, generator=generator)


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_batches_made_ahead_are_the_same_in_the_same_order() -> None:
    direct, generator = seeded(), seeded()
    batches = BatchesAhead(numbers, generator)
    for _ in range(5):
        assert torch.equal(batches.take(), numbers(direct))
        assert torch.equal(generator.get_state(), direct.get_state()), "batches made ahead do not count"


def test_taking_a_batch_starts_exactly_one_more() -> None:
    begun = [threading.Event() for _ in range(4)]
    released, makers = threading.Event(), set()

    def make(generator: torch.Generator) -> Tensor:
        makers.add(threading.get_ident())
        number = next(i for i, event in enumerate(begun) if not event.is_set())
        begun[number].set()
        if number == 1:
            assert released.wait(WAIT_S)
        return numbers(generator)

    batches, direct = BatchesAhead(make, seeded()), seeded()
    assert torch.equal(batches.take(), numbers(direct))
    assert begun[1].wait(WAIT_S), "another thread makes the next batch"
    assert not begun[2].is_set(), "only one batch is made ahead"
    released.set()
    assert torch.equal(batches.take(), numbers(direct))
    assert begun[2].wait(WAIT_S)
    assert makers.isdisjoint({threading.get_ident()})


def test_setting_the_generator_discards_batches_made_ahead() -> None:
    """After the generator's state is restored, as from a checkpoint, batches follow the restored state."""
    generator = seeded()
    batches = BatchesAhead(numbers, generator)
    first, stored = batches.take(), generator.get_state()
    second = batches.take()
    batches.take()
    generator.set_state(stored)
    assert torch.equal(batches.take(), second)
    generator.manual_seed(3)
    assert torch.equal(batches.take(), first)


def test_an_error_made_ahead_is_raised_when_the_batch_is_taken() -> None:
    def make(generator: torch.Generator) -> Tensor:
        if generator.get_state().sum() != seeded().get_state().sum():
            raise MemoryError("no room")
        return numbers(generator)

    batches = BatchesAhead(make, seeded())
    batches.take()
    with pytest.raises(MemoryError, match="no room"):
        batches.take()


@pytest.mark.parametrize(("devices", "is_ahead"), [(ahead.AHEAD_ON, False), (("cpu",), True)])
def test_batches_are_made_ahead_on_listed_devices_only(
    devices: tuple[str, ...], is_ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default a CPU is not listed."""
    monkeypatch.setattr(ahead, "AHEAD_ON", devices)
    next_batch, direct = batch_source(numbers, seeded()), seeded()
    assert isinstance(getattr(next_batch, "__self__", None), BatchesAhead) is is_ahead
    for _ in range(3):
        assert torch.equal(next_batch(), numbers(direct))


@pytest.mark.gpu
def test_batches_are_made_on_a_separate_cuda_stream() -> None:
    """Random numbers stay correct if they are made while another stream uses earlier batches."""

    def make(generator: torch.Generator) -> Tensor:
        return torch.rand(1 << 24, generator=generator, device="cuda")

    direct = torch.Generator("cuda").manual_seed(3)
    batches = BatchesAhead(make, torch.Generator("cuda").manual_seed(3))
    for _ in range(20):
        taken = batches.take()
        busy = taken.view(4096, 4096) @ taken.view(4096, 4096)
        assert torch.equal(taken, make(direct))
        del taken, busy
