"""Parts and shares: a part gives the localizations of the whole dataset within the part, and shares of blocks can be
processed one after the other or at the same time."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import Client

from lls_decode.axes import Layout
from lls_decode.config import PartConfig, Roi
from lls_decode.errors import ConfigError, InputError, RunConflictError
from lls_decode.localize import build_localizer
from lls_decode.localize.place import place
from lls_decode.pipelines.cli import main
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.planning.block_selection import Share, parse_blocks, parse_share
from lls_decode.pipelines.planning.plan import Plan, make_plan
from lls_decode.pipelines.running.merging import merge
from lls_decode.pipelines.running.run import run
from lls_decode.pipelines.status.reader import read_status
from tests.pipelines.conftest import CAMERA, World, assert_same_rows, keys_of, run_config, shard_identities, write_movie
from tests.pipelines.run_folders import make_record

LARGE = (150, 140)
"""Rows and columns of frames that are larger than a region of interest with its halo."""


@pytest.fixture(scope="module")
def large(world: World) -> Path:
    return write_movie(world.folder / "large.zarr", (2, 5, *LARGE), seed=3)


def rows(plan: Plan, roi: Roi | None = None) -> pa.Table:
    """Compute the localizations of a plan without a run, optionally only those of detections inside a region."""
    localizer = build_localizer(plan.bundle_path, plan.config, plan.layout)
    parts = []
    for block in plan.blocks:
        found = localizer.find_in_part(plan.source.read(block).adu_TYX, block.windows)
        if roi is not None:
            x, y = found.x_px, found.y_px
            found = found.select((x >= roi.x[0]) & (x < roi.x[1]) & (y >= roi.y[0]) & (y < roi.y[1]))
        scaling, pixel = localizer.bundle.info.scaling, localizer.pixel
        parts.append(place(found, block, scaling=scaling, pixel=pixel, geometry=localizer.geometry))
    return pa.concat_tables(parts)


@pytest.mark.parametrize("context", ["time", "plane"])
def test_a_part_has_the_same_localizations_as_the_whole_dataset(
    context: str, world: World, large: Path, tmp_path: Path
) -> None:
    for name in ("offset", "gain"):
        values = np.random.default_rng(1).uniform(0.9, 1.1, LARGE) * (100 if name == "offset" else 1)
        np.save(tmp_path / f"{name}.npy", values)
    camera = CAMERA.replace(offset_adu=str(tmp_path / "offset.npy"), gain_adu_per_e=str(tmp_path / "gain.npy"))

    def plan(**part: Any) -> Plan:
        config = run_config(3, camera=camera, part=PartConfig(**part))
        return make_plan(large, world.bundle(context), tmp_path / "out", config)

    roi = Roi(x=(66, 99), y=(5, 70))
    part = plan(roi=roi, volumes=(1, None))
    assert part.read_bytes < 0.9 * plan(volumes=(1, None)).read_bytes
    assert "part       volumes 1:2, pixels x 66:99, y 5:70: 5 frames" in "\n".join(part.describe())
    whole = rows(plan(), roi)
    assert_same_rows(rows(part), whole.filter(pa.array(whole["volume"].to_numpy() == 1)))


PARTS: Mapping[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "nothing": ({}, {"volumes": None, "roi": None}),
    "everything, explicitly": (
        {"volumes": (0, None), "roi": {"x": (0, 48), "y": (0, 40)}},
        {"volumes": None, "roi": None},
    ),
    "from the end": ({"volumes": (-3, None)}, {"volumes": [117, 120], "roi": None}),
    "beyond the last volume": ({"volumes": (100, 500)}, {"volumes": [100, 120], "roi": None}),
    "no volumes": ({"volumes": (7, 7)}, None),
    "volumes after the last": ({"volumes": (120, None)}, None),
    "pixels outside": ({"roi": {"x": (0, 49), "y": (0, 40)}}, None),
}


@pytest.mark.parametrize(("part", "settled"), PARTS.values(), ids=PARTS.keys())
def test_a_part_is_resolved_to_positive_numbers_or_refused(
    part: dict[str, Any], settled: dict[str, Any] | None, world: World, tmp_path: Path
) -> None:
    if settled is None:
        with pytest.raises(ConfigError, match=r"part\.(volumes|roi)"):
            world.plan(tmp_path, part=PartConfig.model_validate(part))
        return
    plan = world.plan(tmp_path, part=PartConfig.model_validate(part))
    assert plan.config.part.to_dict() == settled
    assert (plan.run_digest == world.plan(tmp_path).run_digest) == (settled == PARTS["nothing"][1])


def test_a_run_of_a_part_gives_the_same_localizations_as_the_whole(
    world: World, client: Client, tmp_path: Path
) -> None:
    whole = run(world.plan(tmp_path / "whole"), client)
    plan = world.plan(tmp_path / "part", part=PartConfig(volumes=(10, 50)))
    result = run(plan, client)
    assert (result.done, result.exit_status) == (3, 0)
    table = pq.read_table(whole.merged)
    volume = table["volume"].to_numpy()
    assert result.merged is not None
    assert_same_rows(result.merged, table.filter(pa.array((volume >= 10) & (volume < 50))))
    status = read_status(tmp_path / "part")
    assert (status.state, status.blocks, status.frames_done) == ("done", 3, 40)


TYPED: Mapping[str, tuple[list[str], str]] = {
    "both": (["--volumes", "1:", "--roi", "66:99,5:70"], "part       volumes 1:2, pixels x 66:99, y 5:70: 5 frames"),
    "from the end": (["--volumes", ":-1"], "part       volumes 0:1: 5 frames"),
    "one volume": (["--volumes", "3"], "Error: --volumes 3: expected START:STOP with the end excluded, from 0"),
    "half a region": (["--roi", "1:2"], "Error: --roi 1:2: expected X0:X1,Y0:Y1"),
    "a region backwards": (["--roi", "9:3,0:4"], "Error: --roi 9:3,0:4 contains no pixel"),
    "a region outside": (
        ["--roi", "0:141,0:4"],
        "Error: part.roi is x 0:141, y 0:4, but frames have 140",
    ),
    "a share beyond the last": (["--share", "4/3"], "Error: --share 4/3: expected I/N"),
    "no such block": (
        ["--only", "2"],
        "Error: --only 2: the plan has no such block; expected blocks of the plan, which are 0:2",
    ),
}


@pytest.mark.parametrize(("words", "expected"), TYPED.values(), ids=TYPED.keys())
def test_options_for_parts_and_shares_are_accepted_or_refused(
    words: list[str], expected: str, world: World, large: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", str(large), "--model", str(world.bundle()), "--out", str(tmp_path), "--dry-run"]
    with pytest.raises(SystemExit) as end:
        main([*command, "--block-frames", "5", *words])
    out, err = capsys.readouterr()
    assert end.value.code == (0 if expected.startswith("part") else 2), err
    assert expected in out + err


@pytest.mark.parametrize("number", [1, 2, 7])
def test_shares_cover_all_blocks_once(number: int) -> None:
    for size in range(12):
        shares = [Share(i + 1, number).take(range(size)) for i in range(number)]
        assert [item for share in shares for item in share] == list(range(size))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["0/8", "9/8", "3", "a/b", "-1/8", "1/0"])
def test_an_invalid_share_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"--share {text}: expected I/N, share I (from 1) of N")):
        parse_share(text)


def test_blocks_are_selected_by_number_or_name(world: World, tmp_path: Path) -> None:
    blocks = world.plan(tmp_path, block_frames=8).blocks
    assert parse_blocks("3, 7:10,b000012,b000000:b000002", blocks) == {0, 1, 3, 7, 8, 9, 12}
    assert parse_blocks(":2,13:", blocks) == {0, 1, 13, 14}
    for wrong in ("15", "x", "", "3,", "b15", "7:16", "15:"):
        with pytest.raises(ConfigError, match="which are 0:15"):
            parse_blocks(wrong, blocks)
    for wrong in ("9:7", "7:7", "-1", "7-9"):
        with pytest.raises(ConfigError, match="expected START:STOP with the end excluded"):
            parse_blocks(wrong, blocks)


def test_selected_blocks_are_recomputed_and_merged_when_all_blocks_exist(
    world: World, client: Client, tmp_path: Path
) -> None:
    plan = world.plan(tmp_path)
    first = run(plan, client, only={2, 5})
    assert (first.done, first.exit_status, first.merged) == (2, 0, None)
    assert first.left == ("b000000", "b000001", "b000003", "b000004", "b000006", "b000007")
    whole = run(plan, client)
    assert (whole.done, whole.left) == (8, ())
    assert whole.merged is not None
    before, table = shard_identities(plan), pq.read_table(whole.merged)
    inode = whole.merged.stat().st_ino
    again = run(plan, client, only={5})
    assert (again.done, again.exit_status, again.merged) == (1, 0, whole.merged)
    after = shard_identities(plan)
    assert {name for name in after if after[name] != before[name]} == {"b000005.parquet"}
    assert whole.merged.stat().st_ino != inode
    assert pq.read_table(whole.merged).equals(table)


def test_concurrent_shares_give_one_table(world: World, client: Client, tmp_path: Path) -> None:
    expected = run(world.plan(tmp_path / "alone"), client).merged
    assert expected is not None
    out = tmp_path / "shared"
    words = [sys.executable, "-P", "-m", "lls_decode.pipelines.cli", "run", str(world.movie), "--block-frames", "16"]
    words += [
        "--model",
        str(world.bundle()),
        "--out",
        str(out),
        "--device",
        "cpu",
        "--set",
        "compute.threads=1",
        "--set",
        "compute.dtype=float32",
    ]
    words += ["--site", client.scheduler.address, "--no-report", "--json"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", **keys_of(client, tmp_path / "keys.pem")}
    programs = [
        subprocess.Popen([*words, "--share", f"{number}/3"], stdout=subprocess.PIPE, env=env) for number in (1, 2, 3)
    ]
    said = [json.loads(program.communicate()[0]) for program in programs]
    assert [program.returncode for program in programs] == [0, 0, 0]
    assert sum(item["blocks_done"] for item in said) == 8
    assert any(item["table"] for item in said), "the last share merges"
    assert_same_rows(out / "localizations.parquet", expected)
    status = read_status(out)
    assert (status.state, status.blocks_done, status.rows) == ("done", 8, pq.read_metadata(expected).num_rows)
    assert len(list(out.glob("ledger.*-of-3.jsonl"))) == 3
    assert not list(out.glob("run*.lock"))
    assert merge(out, to=tmp_path / "again.parquet").rows == status.rows
    with RunFolder(out).locked():
        assert merge(out, to=tmp_path / "again.parquet").rows == status.rows  # a table elsewhere needs no lock
        with pytest.raises(RunConflictError, match=f"in use by process {os.getpid()}"):
            merge(out)
    assert merge(out).rows == status.rows
    record = json.loads((out / "run.json").read_text())
    del record["config"]["part"]
    (out / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="has no 'part': another version of lls-decode has written it"):
        read_status(out)


def test_only_different_shares_of_one_run_can_use_a_folder_together(
    world: World, client: Client, tmp_path: Path
) -> None:
    plan = world.plan(tmp_path)
    folder = RunFolder(tmp_path, "1-of-2")
    folder.create()
    with folder.locked():
        assert str(os.getpid()) in str(folder.owner())
        with pytest.raises(RunConflictError, match="in use by process"):
            run(plan, client)
        with pytest.raises(RunConflictError, match="in use by process"):
            run(plan, client, share=Share(1, 2))
        other = run(plan, client, share=Share(2, 2))
        assert (other.done, other.merged, len(other.left)) == (4, None, 4)
        other_rows = world.plan(tmp_path, detection={"accept": 0.8})
        with pytest.raises(RunConflictError, match="contains another run"):
            run(other_rows, client, share=Share(2, 2))
    assert folder.owner() is None
    with RunFolder(tmp_path).locked(), pytest.raises(RunConflictError, match="in use by process"):
        run(plan, client, share=Share(1, 2))
    with pytest.raises(ConfigError, match="--force cannot be combined with --share"):
        run(plan, client, share=Share(1, 2), force=True)
    assert run(plan, client, share=Share(1, 2)).merged == tmp_path / "localizations.parquet"


def test_only_the_first_of_two_new_records_is_kept(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "1-of-2")
    folder.create()
    first, second = (make_record(Layout(volumes, 4, 8, 8)) for volumes in (2, 3))
    assert folder.write_first_record(first)
    assert not folder.write_first_record(second)
    assert folder.read_record() == first
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", "shards", "logs"}
