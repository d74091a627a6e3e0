"""What is wrong with this machine, in words, and how to mend it."""

import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

_CORE = ("torch", "zarr", "dask", "distributed", "numpy", "pyarrow", "pydantic", "safetensors")
_EXTRAS = {"zarrs": "fast", "tifffile": "convert", "matplotlib": "report", "h5py": "export", "dask_jobqueue": "slurm"}
_PROBE_BYTES = 64 << 20
_SLOW_DISK_MB_PER_S = 50.0


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    state: Literal["ok", "note", "wrong"]
    words: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def examine() -> list[Check]:
    """Look at the machine and the installation; takes some seconds and writes only into the temporary folder."""
    found: list[Check] = []
    for part in (_python, _packages, _extras, _machine, _device, _disk, _models, _worker):
        try:
            found += part()
        except Exception as error:  # a doctor reports what breaks, whatever it is
            found.append(Check(part.__name__.strip("_"), "wrong", f"{type(error).__name__}: {error}"))
    return found


def _python() -> Iterator[Check]:
    yield Check("python", "ok", f"{platform.python_version()} in {sys.prefix}")


def _packages() -> Iterator[Check]:
    for name in _CORE:
        try:
            yield Check(name, "ok", version(name))
        except PackageNotFoundError:
            yield Check(name, "wrong", f"not installed; pip install {name}")
    if version("dask") != version("distributed"):
        yield Check(
            "dask",
            "wrong",
            f"dask {version('dask')} beside distributed {version('distributed')}; install the same version of both.",
        )


def _extras() -> Iterator[Check]:
    for module, extra in _EXTRAS.items():
        if importlib.util.find_spec(module) is None:
            yield Check(module, "note", f"not installed; pip install 'lls-decode[{extra}]' when you need it")
        else:
            yield Check(module, "ok", "installed")


def _machine() -> Iterator[Check]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Check("machine", "ok", f"{os.cpu_count()} cores, {memory / 1e9:.0f} GB of memory, {platform.machine()}")


def _device() -> Iterator[Check]:
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        yield Check("gpu", "ok", f"{names}; torch was built for CUDA {torch.version.cuda}")
    elif shutil.which("nvidia-smi"):
        built = torch.version.cuda
        yield Check(
            "gpu",
            "wrong",
            "a driver is installed, but torch sees no GPU: "
            + ("torch is a CPU build; install a CUDA build of torch" if built is None else f"it needs CUDA {built}; "
               "install a newer driver, or a torch built for an older CUDA"),
        )  # fmt: skip
    else:
        yield Check("gpu", "note", "none; the network runs on the CPU")


def _disk() -> Iterator[Check]:
    with tempfile.NamedTemporaryFile() as file:
        began = time.monotonic()
        file.write(os.urandom(_PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())
        rate = _PROBE_BYTES / 1e6 / (time.monotonic() - began)
    free = shutil.disk_usage(Path.cwd()).free
    words = f"{rate:.0f} MB/s written to {tempfile.gettempdir()}, {free / 1e9:.0f} GB free here"
    slow = rate < _SLOW_DISK_MB_PER_S
    yield Check("disk", "note" if slow else "ok", words + ("; slow, keep shards on a local disk" if slow else ""))


def _models() -> Iterator[Check]:
    from lls_decode.model.bundle import load_bundle
    from lls_decode.models import shipped

    bundles = shipped(".lls")
    for name, path in bundles.items():
        load_bundle(path)
        yield Check("model", "ok", f"{name} loads")
    if not bundles:
        yield Check("model", "wrong", "no model ships with this installation; install the package again")


def _worker() -> Iterator[Check]:
    """Another process of this interpreter can import the package, as a worker must."""
    import subprocess

    command = [sys.executable, "-c", "import lls_decode.pipelines.tasks, lls_decode.localize; print('ready')"]
    began = time.monotonic()
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if result.stdout.strip() == "ready":
        yield Check("worker", "ok", f"a worker process is ready in {time.monotonic() - began:.1f} s")
    else:
        yield Check("worker", "wrong", f"a worker process cannot import the package: {result.stderr.strip()[-300:]}")
