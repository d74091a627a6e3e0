"""Measure all speed figures of the documentation that need no GPU; this takes half an hour on two idle cores.

    python benchmarks/speed.py [--only read tables ...] [--out benchmarks/results] [--scratch FOLDER]

The program runs one benchmark after another with the options that the documentation states. When a benchmark is
complete, its lines are written to ``OUT/NAME.jsonl``. Each line also names the processor, its instructions for
bfloat16, and the load of the machine before the benchmark.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
COMMANDS = {
    "read": ["read.py --planes 256"],
    "decode": ["read.py --planes 512 --block-frames 256"],
    "engine": ["engine.py --frames 128 --repeats 1"],
    "end-to-end": ["end_to_end.py --volumes 4 --dtype bfloat16 --threads 2"],
    "tables": ["tables.py"],
    "storage": ["storage.py"],
    "rendering": [
        "rendering.py --what histogram gaussian volume",
        "rendering.py --rows 100000000 --what histogram gaussian",
        "rendering.py --rows 2000000 --what histogram --pixel-nm 1.3312",
    ],
    "pipeline": ["pipeline.py"],
    "scale-model": ["scale_model.py"],
}
"""Commands whose output is written to each file of results."""
SINGLE_THREAD = ("tables", "storage", "rendering", "pipeline")
INSTRUCTIONS = {"avx512f": "AVX-512", "avx512_bf16": "bf16", "amx_bf16": "AMX"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(COMMANDS), default=list(COMMANDS))
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()), help="Folder for 10 GB of tables.")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    machine = {"processor": processor()}
    for name in options.only:
        began = time.monotonic()
        lines = [line for command in COMMANDS[name] for line in run(command, name in SINGLE_THREAD, options.scratch)]
        text = "".join(json.dumps(line | machine) + "\n" for line in lines)
        (options.out / f"{name}.jsonl").write_text(text)
        print(f"{name}: {len(lines)} lines, {time.monotonic() - began:.0f} s", flush=True)


def run(command: str, single_thread: bool, scratch: Path) -> list[dict[str, Any]]:
    """Run a benchmark and return the lines that it prints; its errors go to the terminal."""
    load = os.getloadavg()[0]
    environment = os.environ | {"TMPDIR": str(scratch)} | ({"OMP_NUM_THREADS": "1"} if single_thread else {})
    script, *arguments = command.split()
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments], stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    return [json.loads(line) | {"load_before": round(load, 2)} for line in done.stdout.splitlines()]


def processor() -> str:
    """Return the name of the processor according to Linux, and its instructions for 16-bit arithmetic."""
    known = dict(
        [part.strip() for part in line.split(":", 1)]
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if ":" in line
    )
    flags = known.get("flags", "").split()
    return ", ".join(
        [known.get("model name", "unknown"), *(name for flag, name in INSTRUCTIONS.items() if flag in flags)]
    )


if __name__ == "__main__":
    main()
