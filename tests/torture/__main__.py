"""Torture test: kill, stop, damage and starve runs at random (``python -m tests.torture --rounds 50 --seed 0``).

A round uses one folder. It starts the same run a few times with varying numbers of workers, threads and batches,
disturbs each start, and damages files between starts. Then it repeats the same command until the run is finished.
The table must equal the table of an undisturbed run, no start may print a traceback, and no process or temporary file
may be left behind. The exit status is 1 if any round fails.
"""

import argparse
import hashlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lls_decode.table.files import TEMPORARY_PREFIX
from tests.pipelines.conftest import HEIGHT, WIDTH, write_bundle, write_movie

from .misfortunes import AT_REST, DURING, mount, remount, unmount
from .starts import Round, started

MOST_PLAIN_STARTS = 5
"""Maximum number of undisturbed starts until the run must be finished."""
LAST_BREATH_S = 60.0
"""Time that processes have to notice that their parent process has ended."""
LOCKS_OF_DASK = (".lock", ".dirlock")
"""Suffixes of lock files in Dask's folder, which Dask keeps or, for killed workers, removes at its next start."""


def main() -> int:
    """Run all rounds, and print how often each misfortune and each fault occurred."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="Seed of the random choices; round i uses seed + i.")
    parser.add_argument("--only", help="Use only misfortunes whose name contains this text.")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        folder = Path(name)
        movie = write_movie(folder / "movie.zarr", (120, HEIGHT, WIDTH))
        model = write_bundle(folder / "model.lls", context="time", filters=16)
        reference = undisturbed(Round(folder / "reference", movie, model, random.Random(0), f"{folder.name}-reference"))
        for number in range(options.rounds):
            seed = options.seed + number
            mark = f"{folder.name}-{seed}"
            round = Round(folder / f"round{seed}", movie, model, random.Random(seed), mark)
            began = time.monotonic()
            faults = play(round, reference, counts, options.only or "")
            counts["rounds"] += 1
            counts["starts"] += sum(line.startswith("exit") for line in round.told)
            print(f"round {seed}: {'; '.join(faults) or 'ok'} ({time.monotonic() - began:.0f} s)", flush=True)
            if faults:
                print("\n".join(f"    {line}" for line in round.told), flush=True)
            counts.update(fault.partition(":")[0] for fault in faults)
            counts["rounds without fault"] += not faults
            shutil.rmtree(round.folder, ignore_errors=True)
    print("\n" + "\n".join(f"{counts[name]:6}  {name}" for name in sorted(counts)))
    return int(counts["rounds without fault"] < options.rounds)


def undisturbed(round: Round) -> dict[str, str]:
    """Run once without disturbance and return the digests of its table."""
    (round.folder / "disk").mkdir(parents=True)
    with started(round) as start:
        status = start.wait()
    if status:
        sys.exit(f"the undisturbed run failed: {round.told[-1]}")
    return digest(round)


def digest(round: Round) -> dict[str, str]:
    """Return SHA-256 digests of the table's rows and metadata, without the randomly chosen settings."""
    found = {}
    table = pq.read_table(round.out / "localizations.parquet")
    record = json.loads(table.schema.metadata[b"lls_decode"])
    del record["configuration"]["compute"]
    for name, value in record.items():
        found[f"metadata {name}"] = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
    sink, rows = pa.BufferOutputStream(), table.replace_schema_metadata(None).combine_chunks()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    return found | {"rows": hashlib.sha256(sink.getvalue()).hexdigest()}


def play(round: Round, reference: dict[str, str], counts: Counter[str], only: str) -> list[str]:
    """Play one round and return its faults."""
    has_disk = mount(round)
    try:
        for _ in range(round.random.randint(1, 3)):
            disturb(round, counts, only, has_disk=has_disk)
        status = -1
        for _ in range(MOST_PLAIN_STARTS):
            with started(round) as start:
                status = start.wait()
            if status == 0:
                break
        faults = [] if status == 0 else [f"not finished: exit {status}"]
        if status == 0 and (found := digest(round)) != reference:
            names = [name for name in sorted(found.keys() | reference) if found.get(name) != reference.get(name)]
            faults.append(f"other table: {', '.join(names)}")
        if round.tracebacks:
            faults.append(f"traceback: {round.tracebacks}")
        return faults + leftovers(round)
    finally:
        for process in round.processes():
            process.kill()
        if has_disk:
            unmount(round)


def disturb(round: Round, counts: Counter[str], only: str, *, has_disk: bool) -> None:
    """Start the run, disturb it while it is running, and then possibly damage its folder."""
    during = [name for name in DURING if only in name] or ["nothing"]
    name = round.random.choice(during)
    read_only = has_disk and only in "read-only folder" and round.random.random() < 0.1
    if name == "full disk" and not has_disk:
        name = "limited files"
    counts["read-only folder" if read_only else name] += 1
    round.told.append(f"-- {'read-only folder' if read_only else name}")
    if read_only:
        remount(round, "ro")
    with started(round, limit_bytes=64 << 10 if name == "limited files" else None) as start:
        if not read_only and name in DURING:
            start.wait_for_work()
            DURING[name](start)
        start.wait()
    if read_only:
        remount(round, "rw")
    (round.folder / "disk" / "ballast").unlink(missing_ok=True)
    harms = [name for name in AT_REST if only in name]
    if harms and round.random.random() < 0.6:
        name = round.random.choice(harms)
        harm, pattern = AT_REST[name]
        harm(round, pattern)
        counts[name] += 1
        round.told.append(f"-- {name}")


def leftovers(round: Round) -> list[str]:
    """Return a fault for each process and temporary file that outlives the round."""
    limit = time.monotonic() + LAST_BREATH_S
    while round.processes() and time.monotonic() < limit:
        time.sleep(0.5)
    found = [f"process left: {' '.join(process.cmdline())[:150]}" for process in round.processes()]
    kept = [path for path in round.out.rglob("*") if path.name.startswith(TEMPORARY_PREFIX)]
    kept += [path for path in (round.folder / "scratch").rglob("*") if path.is_file()]
    return found + [f"file left: {path.relative_to(round.folder)}" for path in kept if path.suffix not in LOCKS_OF_DASK]


if __name__ == "__main__":
    sys.exit(main())
