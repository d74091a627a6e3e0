"""Check Python, the installed packages, the shipped models, and that a worker process can start."""

import importlib.util
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from lls_decode.system import memory_bytes

from .check import Check

_CORE = ("torch", "zarr", "dask", "distributed", "numpy", "pyarrow", "pydantic", "safetensors")
_EXTRAS = {
    "zarrs": "fast",
    "tifffile": "convert",
    "nd2": "nd2",
    "matplotlib": "report",
    "h5py": "export",
    "cryptography": "slurm",
    "obstore": "remote",
}

_WORKER_S, _SLOW_WORKER_S = 300, 60
"""Time limit for a worker process to import the package, and the time from which the import is reported as slow."""


def examine_installation() -> Iterator[Check]:
    """Report Python, the packages, and the machine."""
    yield Check("python", "ok", f"{platform.python_version()} in {sys.prefix}")
    yield from _packages()
    yield from _extras()
    yield Check(
        "machine", "ok", f"{os.cpu_count()} cores, {memory_bytes() / 1e9:.0f} GB of memory, {platform.machine()}"
    )


def _packages() -> Iterator[Check]:
    found = {}
    for name in _CORE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            yield Check(name, "wrong", f"not installed; pip install {name}")
        else:
            yield Check(name, "ok", found[name])
    dask, distributed = found.get("dask"), found.get("distributed")
    if dask and distributed and dask != distributed:
        words = f"version {dask}, but distributed is {distributed}; install the same version of both"
        yield Check("dask", "wrong", words)


def _extras() -> Iterator[Check]:
    for module, extra in _EXTRAS.items():
        if importlib.util.find_spec(module) is None:
            yield Check(module, "note", f"not installed; pip install 'lls-decode[{extra}]' when you need it")
        else:
            yield Check(module, "ok", "installed")


def examine_models() -> Iterator[Check]:
    """Load each model that ships with the package."""
    from lls_decode.model.bundle import load_bundle
    from lls_decode.models import shipped

    bundles = shipped(".lls")
    for name, path in bundles.items():
        load_bundle(path)
        yield Check("model", "ok", f"{name} loads")
    if not bundles:
        yield Check("model", "wrong", "this installation contains no models; reinstall the package")


def examine_worker() -> Iterator[Check]:
    """Check that another process of this interpreter can import the package, as each worker must."""
    command = [sys.executable, "-c", "import lls_decode.pipelines.running.tasks, lls_decode.localize; print('ready')"]
    began = time.monotonic()
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_WORKER_S, check=False)
    except subprocess.TimeoutExpired:
        words = f"not ready after {_WORKER_S} s; the environment is on a slow file system, or the machine is busy"
        yield Check("worker", "wrong", words)
        return
    took = time.monotonic() - began
    if result.stdout.strip() != "ready":
        yield Check("worker", "wrong", f"a worker process cannot import the package: {result.stderr.strip()[-300:]}")
    elif took > _SLOW_WORKER_S:
        yield Check("worker", "note", f"ready after {took:.0f} s; an environment on a local disk would start sooner")
    else:
        yield Check("worker", "ok", f"a worker process is ready in {took:.1f} s")
