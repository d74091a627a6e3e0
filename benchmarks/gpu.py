"""Run all measurements that need a GPU: speed of the engine, then full-size training within a time limit.

    python benchmarks/gpu.py --out $OUT [--minutes 9] [--only engine|training] [--resume FOLDER]

Engine (eight minutes at most): the program measures the limits of the device (copy, bf16 matrix product), and then
compares all ways to compute the network (`tournament.py`). It reports Mpx/s of encode, decode, detect and of the whole
path from counts in host memory to packed detections, for the full network and a light one. It compares each with the
least possible time per pixel, which is the longer one of two times:

* the network's FLOP (1.16 million per pixel for the full network, with features computed once) at the measured rate of
  a matrix product;
* the network's values (2 471 per pixel, input and output of each convolution once, in the dtype in use) at the measured
  rate of a copy.

Training: the program trains `lls-paint-48`, the full-size model that ships, until the time is over. It writes the
checkpoint in parts of at most 12 MiB into ``OUT/training``. A later call with ``--resume`` and a copy of that folder
resumes the training, and the last call writes the bundle.

The script needs no installation: run it from the repository's root (pydantic, pyarrow, zarr, numcodecs and safetensors
must be importable; none of them is used on the device). Test the script with ``--device cpu --scale 0.01``.
"""

import argparse
import json
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from random_model import make_localizer
from tournament import prepare, seconds, tournament

from lls_decode.config import TrainingConfig, load
from lls_decode.localize import build_calibrator, build_threshold_chooser, build_validator
from lls_decode.models import find_config
from lls_decode.training import train
from lls_decode.training.ahead import simulate_step

ENGINE_MINUTES = 8.0
PART_BYTES = 12 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--only", choices=("engine", "training"))
    parser.add_argument("--resume", type=Path, help="Copy of OUT/training of an earlier call.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--scale", type=float, default=1.0, help="Reduce the sizes, to test the script.")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    began = time.monotonic()
    device = torch.device(options.device)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.only != "training":
        with (options.out / "engine.jsonl").open("w") as file:
            for line in engine(device, options.scale, min(options.minutes, ENGINE_MINUTES)):
                text = json.dumps({"benchmark": "gpu-engine", "device": name(device), **line})
                print(text, flush=True)
                print(text, file=file, flush=True)
    if options.only != "engine":
        left_s = options.minutes * 60 - (time.monotonic() - began)
        line = training(device, options.out / "training", options.resume, left_s, options.scale)
        print(json.dumps({"benchmark": "gpu-training", "device": name(device), **line}), flush=True)


def name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def engine(device: torch.device, scale: float, minutes: float) -> Iterator[dict[str, Any]]:
    """Yield the limits of the device, the cases of the tournament with their winners, and the profile of the winner."""
    copy_bytes_per_s, flop_per_s = ceilings(device, scale)
    yield {"what": "ceilings", "copy_GB_per_s": copy_bytes_per_s / 1e9, "bf16_TFLOP_per_s": flop_per_s / 1e12}

    def floor(flop_per_px: float, values_per_px: float, itemsize: int) -> float:
        return max(flop_per_px / flop_per_s, values_per_px * itemsize / copy_bytes_per_s)

    way = None
    for line in tournament(device, scale, floor, minutes):
        if line.get("what") == "winner":
            way = way or line["way"]
        yield line
    yield {"what": "profile", "way": way, **profile(device, way or "plain")}


def ceilings(device: torch.device, scale: float) -> tuple[float, float]:
    """Measure the bytes per second of a copy (read and written) and the FLOP per second of a bf16 matrix product."""
    values = torch.rand(int((1 << 28) * scale) + 1024, device=device)
    target = torch.empty_like(values)
    copy = 2 * values.nbytes / seconds(lambda: target.copy_(values), device)
    side = 8192 if scale == 1 else 512
    one, other = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return copy, 2 * side**3 / seconds(lambda: one @ other, device)


def profile(device: torch.device, way: str) -> dict[str, Any]:
    """Profile the full network, and return the share of time of its slowest kernels."""
    if device.type != "cuda":
        return {"kernels": []}
    torch.backends.cudnn.benchmark = True
    localizer = make_localizer(device, 48, "float16", 1 << 22, 512)
    prepare(localizer.bundle.network, way, torch.float16)
    adu = np.random.default_rng(0).poisson(30, (64, 512, 512)).astype(np.uint16) + 100
    windows = np.clip(np.arange(64)[:, None] + np.array([-1, 0, 1]), 0, 63)
    localizer.find(adu, windows)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        began = time.perf_counter()
        localizer.find(adu, windows)
        wall_s = time.perf_counter() - began
    kernels = sorted(seen.key_averages(), key=lambda entry: -entry.self_device_time_total)
    total = sum(entry.self_device_time_total for entry in kernels)
    return {
        "wall_s": wall_s,
        "device_s": total * 1e-6,
        "kernels": [
            [entry.key[:90], entry.count, round(entry.self_device_time_total / total, 4)] for entry in kernels[:24]
        ],
    }


def training(device: torch.device, out: Path, resume: Path | None, left_s: float, scale: float) -> dict[str, Any]:
    """Resume or start the full-size training for the remaining time."""
    config = load(TrainingConfig, find_config("lls-paint-48"))
    if scale != 1:
        config = config.replace(steps=20, validate_every=10, validation_frames=8, sequences=1, sequence_frames=2)
    work = Path(tempfile.mkdtemp(prefix="lls-decode-training-"))
    if resume is not None:
        join(resume, work)
    generator = torch.Generator(device=device).manual_seed(1)

    simulate_s = seconds(lambda: simulate_step(config, generator), device, repeats=5)
    steps: list[int] = []
    began = time.monotonic()
    result = train(
        config,
        work,
        validator=build_validator(config),
        calibrator=build_calibrator(config),
        choose_thresholds=build_threshold_chooser(config),
        device=device,
        progress=lambda step, _, __: steps.append(step),
        stop_after_s=left_s - 30 * min(scale, 1),
    )
    step_s = (time.monotonic() - began) / max(len(steps), 1)
    split(work, out)
    return {
        "step": steps[-1] if steps else config.steps,
        "steps": config.steps,
        "step_s": step_s,
        "simulate_s": simulate_s,
        "step_against_simulation": step_s / simulate_s,  # on a GPU, simulation and step run at the same time
        "accuracy": result.accuracy if result else None,
    }


def split(work: Path, out: Path) -> None:
    """Copy a training folder, with large files split into parts."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for path in sorted(work.iterdir()):
        data = path.read_bytes()
        if len(data) <= PART_BYTES:
            (out / path.name).write_bytes(data)
            continue
        for number, start in enumerate(range(0, len(data), PART_BYTES)):
            (out / f"{path.name}.part{number}").write_bytes(data[start : start + PART_BYTES])


def join(folder: Path, work: Path) -> None:
    """Copy a training folder written by `split`, and join its parts."""
    for path in sorted(folder.iterdir()):
        whole, _, part = path.name.partition(".part")
        with (work / whole).open("ab" if part else "wb") as file:
            file.write(path.read_bytes())


if __name__ == "__main__":
    main()
