"""Commands about machines: the group ``cluster``, and ``doctor``."""

from pathlib import Path

import click

from .options import echo, echo_json, json_option
from .parameters import SITE


@click.group()
def cluster() -> None:
    """Show site profiles and the job scripts made from them."""


@cluster.command("list", epilog="Example: lls-decode cluster list")
def list_sites() -> None:
    """List the site profiles that ship with the package."""
    from lls_decode.cluster.site import shipped_profiles

    for name, path in shipped_profiles().items():
        echo(f"{name:<12} {path.read_text(encoding='utf-8').splitlines()[0].lstrip('# ').partition('. ')[0]}")
    echo("PATH.yaml    your own profile ('lls-decode cluster show slurm --profile > PATH.yaml' writes a template)")
    echo("tcp://...    a Dask scheduler that is already running")


@cluster.command(
    "show", short_help="Print the job scripts that SITE submits.", epilog="Example: lls-decode cluster show slurm-gpu"
)
@click.argument("site", type=SITE)
@click.option("--profile", "as_profile", is_flag=True, help="Print the profile, as a template for your own.")
@click.option(
    "--out", default="results", type=click.Path(path_type=Path), help="Run folder, used for the paths in the scripts."
)
def show_site(site: str, as_profile: bool, out: Path) -> None:
    """Print the job scripts that SITE submits, or the profile of a SITE that submits no jobs."""
    from lls_decode.cluster.site import find_site, shipped_profiles

    profile = find_site(site)
    command = ("-m", "lls_decode.pipelines.cli", "run", "DATASET", "--model", "MODEL", "--out", str(out))
    scripts = None if as_profile else profile.describe_scripts(out, command)
    if scripts is None:
        path = shipped_profiles().get(site, Path(site))
        scripts = path.read_text(encoding="utf-8") if path.is_file() else profile.to_yaml()
    echo(scripts, nl=False)


@click.command(
    short_help="Check this machine: packages, GPUs, models, SLURM.",
    epilog="Example: lls-decode doctor --out results/ --site mine.yaml",
)
@click.option(
    "--out",
    default=".",
    type=click.Path(path_type=Path),
    help="Results folder to check.  [default: current folder]",
)
@click.option("--site", type=SITE, help="Also test a site: a name, a profile (.yaml), or tcp://HOST:PORT.")
@json_option
def doctor(out: Path, site: str | None, as_json: bool) -> int:
    """Check this machine: packages, GPUs, the results folder, models, a worker process, SLURM.

    Exit status 1 if something is wrong.
    """
    from lls_decode.cluster.diagnosis import examine_site
    from lls_decode.cluster.slurm.diagnosis import examine as examine_slurm
    from lls_decode.pipelines.doctor import Check, examine

    checks = examine(out)
    checks += [Check("slurm", state, words) for state, words in examine_slurm()]
    if site is not None:
        checks += [Check("site", state, words) for state, words in examine_site(site)]
    if as_json:
        echo_json([check.to_dict() for check in checks])
    else:
        for item in checks:
            echo(f"{item.state:<5} {item.name:<12} {item.words}")
    return int(any(item.state == "wrong" for item in checks))
