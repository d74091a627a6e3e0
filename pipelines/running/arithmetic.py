"""Decide the arithmetic of a run: ``compute.dtype: auto`` becomes the best type that all workers support in hardware.

The workers are asked once, when the run starts, because the machine that plans it may have no GPU. A resumed run keeps
its arithmetic.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from distributed import Client

from lls_decode.config import Arithmetic, CompilationTarget, CompiledCode, ComputeConfig
from lls_decode.errors import ConfigError, RunConflictError, SiteError
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.planning.plan import Plan, adopt_dtype

from .interrupts import raise_if_asked
from .ownership import find_conflict, take_ownership

_POLL_S = 0.5
_LATER = "rerun the same command when machines are available"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerDevice:
    """Device on which a worker runs the network."""

    name: str
    """Name, driver and memory of a GPU, or the name of the processor."""
    dtypes: tuple[Arithmetic, ...]
    """Types that the device supports in hardware, the best one first; float32 is always among them."""
    code: CompiledCode = "impossible"
    """Whether the worker can compile the network, and whether it finds compiled code in its cache."""


def claim_folder(
    plan: Plan, folder: RunFolder, client: Client, *, force: bool, patience_s: float
) -> tuple[Plan, tuple[WorkerDevice, ...]]:
    """Claim the folder for the run of a plan, and decide the arithmetic of the plan if it is still open.

    Returns
    -------
    Plan
        The plan with a decided arithmetic.
    tuple of WorkerDevice
        Devices of the workers; empty if the workers did not have to be asked.

    Raises
    ------
    RunConflictError
        As for `take_ownership`.
    ConfigError, SiteError
        As for `ask_workers`.
    """
    plan = adopt_dtype(plan)
    if not plan.is_open:
        take_ownership(plan, folder, force=force)
        return plan, ()
    conflict = find_conflict(plan, folder)
    if conflict is not None and not force:
        raise RunConflictError(conflict)
    devices = ask_workers(client, plan, check=raise_if_asked, patience_s=patience_s)
    settled = settle_dtype(plan, devices)
    try:
        take_ownership(settled, folder, force=force)
    except RunConflictError:
        settled = adopt_dtype(plan)  # a job with another share of the run has decided meanwhile
        if settled.is_open:
            raise
        take_ownership(settled, folder, force=False)
    return settled, devices


def examine_device(compute: ComputeConfig, target: CompilationTarget) -> WorkerDevice:
    """Return the device on which this process would run the network."""
    from lls_decode.localize.build import choose_device
    from lls_decode.localize.compilation import find_compiled_code, find_record
    from lls_decode.model.hardware import name_device, native_dtypes

    device = choose_device(compute)
    dtypes = native_dtypes(device)
    record = find_record(target, dtypes[0] if compute.dtype == "auto" else compute.dtype, device)
    return WorkerDevice(name_device(device), dtypes, find_compiled_code(record, device))


def ask_workers(
    client: Client, plan: Plan, *, check: Callable[[], None], patience_s: float
) -> tuple[WorkerDevice, ...]:
    """Return the devices of all workers that are connected, after waiting for the first one.

    Parameters
    ----------
    check
        Function that is called repeatedly while waiting, and may raise to stop the run.
    patience_s
        Time to wait for the first worker.

    Raises
    ------
    ConfigError
        A worker does not have the device that the configuration requires.
    SiteError
        No worker has connected, or none has answered.
    """
    began = time.monotonic()
    compute, target = plan.config.compute, plan.compilation_target
    errors: list[BaseException] = []
    while not errors:
        check()
        try:
            answers = client.run(_examine_aside, compute, target, on_error="return").values()
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
    raise SiteError(f"No worker could examine its device ({errors[0]!r}); {_LATER}.") from errors[0]


async def _examine_aside(compute: ComputeConfig, target: CompilationTarget) -> WorkerDevice:
    """Examine the device in a separate thread, so that the worker stays responsive during the slow import of torch."""
    return await asyncio.to_thread(examine_device, compute, target)


def settle_dtype(plan: Plan, devices: Sequence[WorkerDevice]) -> Plan:
    """Return the plan with a decided arithmetic, and check that the workers support it.

    A warning is logged if the user has chosen an arithmetic that workers probably emulate.

    Raises
    ------
    ConfigError
        The run is resumed, and some workers do not support its arithmetic in hardware.
    """
    if plan.is_open:
        dtype, reason = choose_dtype(devices)
        logger.info("arithmetic: %s (%s)", dtype, reason)
        return plan.with_dtype(dtype, f"arithmetic {dtype} ({reason})")
    kept = plan.config.compute.dtype
    unfit = [device.name for device in devices if kept not in device.dtypes]
    if not unfit:
        return plan
    workers = f"{len(unfit)} of {len(devices)} workers ({_names(unfit)})"
    if plan.is_adopted:
        raise ConfigError(
            f"The run in {plan.out} computes in {kept}, which {workers} do not support in hardware; resume it on "
            "machines that do, or give another --out."
        )
    logger.warning(
        "compute.dtype is %s, for which %s have no known hardware support; emulated arithmetic is slower than float32: "
        "set compute.dtype to auto, with another --out",
        kept,
        workers,
    )
    return plan


def settle_here(plan: Plan) -> Plan:
    """Return the plan with an arithmetic that is decided for this process, which computes all blocks."""
    return settle_dtype(plan, [examine_device(plan.config.compute, plan.compilation_target)]) if plan.is_open else plan


def choose_dtype(devices: Sequence[WorkerDevice]) -> tuple[Arithmetic, str]:
    """Return the best type that all devices support in hardware, and the reason as text."""
    first = devices[0].dtypes
    common = [dtype for dtype in first if all(dtype in device.dtypes for device in devices)]
    dtype = common[0]
    better = [device.name for device in devices if device.dtypes[0] != dtype]
    reason = f"auto: {_names(device.name for device in devices)}"
    if better:
        reason += f"; {_names(better)} would be faster in another type, which not all workers support"
    return dtype, reason


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"{count} x {name}" if count > 1 else name for name, count in Counter(names).items())
