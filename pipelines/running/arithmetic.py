"""One arithmetic for a run: ``compute.dtype: auto`` becomes the best type that all of its workers have units for.

Workers are asked once, when a run starts: a login node has no GPU. A run that is resumed keeps its arithmetic.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from distributed import Client

from lls_decode.config import Arithmetic, ComputeConfig
from lls_decode.errors import ConfigError, RunConflictError, SiteError
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.planning.plan import Plan, adopt_dtype

from .interrupts import raise_if_asked
from .ownership import find_conflict, take_ownership

_POLL_S = 0.5
_LATER = "give the same command again when there are machines"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerDevice:
    """What a worker computes the network on."""

    name: str
    """A GPU's name, driver and memory, or the processor's name."""
    dtypes: tuple[Arithmetic, ...]
    """Types that it has units for, the best one first; float32 is always among them."""


def claim_folder(
    plan: Plan, folder: RunFolder, client: Client, *, force: bool, patience_s: float
) -> tuple[Plan, tuple[WorkerDevice, ...]]:
    """Make the folder the plan's run's; where the arithmetic of the plan is open, the workers decide it.

    Returns
    -------
    Plan
        Its arithmetic is decided.
    tuple of WorkerDevice
        What the workers compute on; empty where they were not asked.

    Raises
    ------
    RunConflictError
        As `take_ownership`.
    ConfigError, SiteError
        As `ask_workers`.
    """
    plan = adopt_dtype(plan)
    if not plan.is_open:
        take_ownership(plan, folder, force=force)
        return plan, ()
    conflict = find_conflict(plan, folder)
    if conflict is not None and not force:
        raise RunConflictError(conflict)
    devices = ask_workers(client, plan.config.compute, check=raise_if_asked, patience_s=patience_s)
    settled = settle_dtype(plan, devices)
    try:
        take_ownership(settled, folder, force=force)
    except RunConflictError:
        settled = adopt_dtype(plan)  # another share of the run has decided meanwhile
        if settled.is_open:
            raise
        take_ownership(settled, folder, force=False)
    return settled, devices


def examine_device(compute: ComputeConfig) -> WorkerDevice:
    """Return what this process would compute the network on."""
    from lls_decode.localize.arithmetic import name_device, native_dtypes
    from lls_decode.localize.build import choose_device

    device = choose_device(compute)
    return WorkerDevice(name_device(device), native_dtypes(device))


def ask_workers(
    client: Client, compute: ComputeConfig, *, check: Callable[[], None], patience_s: float
) -> tuple[WorkerDevice, ...]:
    """Ask all workers that are there (the first one is waited for) what they compute on.

    Parameters
    ----------
    check
        Called often; may raise.
    patience_s
        How long to wait for a worker.

    Raises
    ------
    ConfigError
        A worker lacks the device that the run asks for.
    SiteError
        No worker has come, or none has answered.
    """
    began = time.monotonic()
    errors: list[BaseException] = []
    while not errors:
        check()
        try:
            answers = client.run(_examine_aside, compute, on_error="return").values()
        except (OSError, RuntimeError) as error:
            raise SiteError(f"The scheduler does not answer ({error}); start it, or give another --site.") from error
        devices = tuple(answer for answer in answers if isinstance(answer, WorkerDevice))
        if devices:
            return devices
        errors = [answer for answer in answers if isinstance(answer, BaseException)]
        if not errors and time.monotonic() - began > patience_s:
            raise SiteError(f"There have been no workers for {patience_s:g} s; {_LATER}.")
        time.sleep(_POLL_S)
    if isinstance(errors[0], ConfigError):
        raise errors[0]
    raise SiteError(f"No worker can say what it computes on ({errors[0]!r}); {_LATER}.") from errors[0]


async def _examine_aside(compute: ComputeConfig) -> WorkerDevice:
    """Examine the device in a thread of its own: torch takes long to import, and workers answer meanwhile."""
    return await asyncio.to_thread(examine_device, compute)


def settle_dtype(plan: Plan, devices: Sequence[WorkerDevice]) -> Plan:
    """Return a plan whose arithmetic is decided.

    Raises
    ------
    ConfigError
        The run is resumed, and some workers have no units for its arithmetic.
    """
    if plan.is_open:
        dtype, reason = choose_dtype(devices)
        logger.info("arithmetic: %s (%s)", dtype, reason)
        return plan.with_dtype(dtype, f"arithmetic {dtype} ({reason})")
    kept = plan.config.compute.dtype
    unfit = [device.name for device in devices if kept not in device.dtypes]
    if plan.is_adopted and unfit:
        raise ConfigError(
            f"The run in {plan.out} computes in {kept}, which {len(unfit)} of {len(devices)} workers "
            f"({_names(unfit)}) have no units for; resume it on machines that have, or give another --out."
        )
    return plan


def settle_here(plan: Plan) -> Plan:
    """Return a plan whose arithmetic is decided for this process, which computes all of it."""
    return settle_dtype(plan, [examine_device(plan.config.compute)]) if plan.is_open else plan


def choose_dtype(devices: Sequence[WorkerDevice]) -> tuple[Arithmetic, str]:
    """Return the best type that all devices have units for, and why, in words."""
    first = devices[0].dtypes
    common = [dtype for dtype in first if all(dtype in device.dtypes for device in devices)]
    dtype = common[0]
    better = [device.name for device in devices if device.dtypes[0] != dtype]
    reason = f"auto: {_names(device.name for device in devices)}"
    if better:
        reason += f"; {_names(better)} would be faster in another type that not all workers have"
    return dtype, reason


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"{count} x {name}" if count > 1 else name for name, count in Counter(names).items())
