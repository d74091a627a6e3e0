"""Diagnosis of a site before a run: differences between the environments of its workers and of the client."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from lls_decode.cluster.diagnosis import examine_site
from lls_decode.cluster.slurm.diagnosis import examine_interpreter, interpreter_versions
from lls_decode.cluster.slurm.site import SlurmSite
from lls_decode.cluster.versions import differences, versions_here
from lls_decode.config.base import parse

HERE = {"python": "3.11.7", "dask": "2026.8.0", "torch": "2.13.0"}


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (HERE, []),
        (HERE | {"python": "3.11.2", "torch": "2.13.0+cpu"}, []),
        (HERE | {"python": "3.12.7"}, ["python 3.12.7 (here 3.11.7)"]),
        (HERE | {"dask": "2024.8.0", "zarr": "3.1.6"}, ["dask 2024.8.0 (here 2026.8.0)", "zarr 3.1.6 (here missing)"]),
        ({"python": "3.11.7", "dask": "2026.8.0"}, ["torch missing (here 2.13.0)"]),
    ],
    ids=["equal", "patch and local version", "minor version of Python", "packages", "missing"],
)
def test_differences_that_matter_are_listed(there: dict[str, str], words: list[str]) -> None:
    assert list(differences(HERE, there).values()) == words


def site(**values: Any) -> SlurmSite:
    return parse(SlurmSite, values, source="test")


@pytest.mark.posix("jobs of SLURM start in bash")
def test_interpreter_of_jobs_is_found_after_setup_and_inside_a_container() -> None:
    """Jobs run the setup lines first, and start Python with the container command."""
    assert interpreter_versions(site()) == versions_here()
    found = site(setup=["echo loaded cuda/12; PREFIX=env"], container="$PREFIX LC_ALL=C")
    assert interpreter_versions(found) == versions_here()
    assert examine_interpreter(found)[0] == "ok"


@pytest.mark.posix("jobs of SLURM start in bash")
def test_other_package_versions_of_jobs_are_reported(tmp_path: Path) -> None:
    """The setup lines put other versions on the path, as an environment module of a site would."""
    for name, version in (("dask", "2024.8.0"), ("lls_decode", "0.0.9")):
        metadata = tmp_path / f"{name}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    here = versions_here()
    state, words = examine_interpreter(site(setup=[f"export PYTHONPATH='{path}'"]))
    assert state == "wrong"
    assert f"lls-decode 0.0.9 (here {here['lls-decode']}), dask 2024.8.0 (here {here['dask']})" in words


@pytest.mark.posix("jobs of SLURM start in bash")
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"python": "/opt/none/bin/python"}, "the jobs' Python does not start (bash: line 2: /opt/none/bin/python: "),
        (
            {"container": "apptainer-of-nobody exec image.sif"},
            "apptainer-of-nobody: command not found); correct setup,",
        ),
        ({"python": f"{Path(sys.base_prefix)}/bin/python3"}, "the jobs' Python has no lls-decode; correct setup"),
    ],
    ids=["interpreter", "container", "environment"],
)
def test_interpreter_that_cannot_run_lls_decode_is_reported(values: dict[str, Any], words: str) -> None:
    state, said = examine_interpreter(site(setup=["unset PYTHONPATH"], **values))
    assert (state, words in said) == ("wrong", True), said


def test_sites_without_jobs_are_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert list(examine_site("local")) == [("ok", "workers on this machine")]
    assert list(examine_site("cuda")) == [("wrong", "0 GPUs can be used")]
    monkeypatch.setattr("lls_decode.cluster.running.CONNECT_S", 1.0)
    ((state, words),) = examine_site("tcp://127.0.0.1:1")
    assert (state, words.startswith("No scheduler answers at tcp://127.0.0.1:1 within")) == ("wrong", True)
