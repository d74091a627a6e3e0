"""What is to be copied from a report: the command that gives the same table, and how other programs read it."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lls_decode.config import RunConfig, parse


def command(record: Mapping[str, Any], out: Path) -> str:
    """Shell lines that write the run's configuration and give its command again; ``record`` is that of ``run.json``."""
    config = parse(RunConfig, record["config"], source=str(out / "run.json"))
    words = ("lls-decode", "run", record["dataset"], "--model", record["model"]["path"], "--out", str(out))
    return f"cat > run.yaml <<'END'\n{config.to_yaml()}END\n{shlex.join(words)} --config run.yaml"


def snippets(table: Path) -> dict[str, str]:
    """Lines that read a table, by the name of the program."""
    path = str(table.resolve())
    matlab, sql = (path.replace(quote, 2 * quote) for quote in ('"', "'"))
    return {
        "Python, pandas": (
            "import pandas as pd\n\n"
            f"table = pd.read_parquet({path!r}, columns=['frame', 'x_nm', 'y_nm', 'z_nm', 'photons', 'prob'],\n"
            "                        filters=[('prob', '>', 0.9)])   # leave both out for everything\n"
            "table.attrs['lls_decode']['columns']['x_nm']             # unit and meaning"
        ),
        "DuckDB, larger than memory": (
            "SELECT frame, count(*) AS localizations, median(photons) AS photons\n"
            f"FROM '{sql}'\nWHERE prob > 0.9 GROUP BY frame ORDER BY frame;"
        ),
        "MATLAB": (
            f'file = "{matlab}";\n'
            'table = parquetread(file, SelectedVariableNames=["frame" "x_nm" "y_nm" "z_nm" "photons" "prob"]);\n'
            "table = table(table.prob > 0.9, :);"
        ),
        "SMAP, Picasso, ThunderSTORM, .smlm": f"lls-decode export {shlex.quote(path)} cell_sml.mat",
    }
