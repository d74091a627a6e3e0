"""Text to copy from a report: the command that repeats the run, and code that reads its table in other programs."""

import shlex
from pathlib import Path

from lls_decode.errors import shell_command
from lls_decode.pipelines.journal.record import RunRecord
from lls_decode.system import real_path
from lls_decode.table.depth import has_depth


def command(record: RunRecord, out: Path) -> str:
    """Return the shell lines that write the run's configuration and repeat its command."""
    words = ("lls-decode", "run", record.dataset, "--model", record.model.path, "--out", str(out))
    return f"cat > run.yaml <<'END'\n{record.config.to_yaml()}END\n{shlex.join(words)} --config run.yaml"


def snippets(table: Path) -> dict[str, str]:
    """Return code that reads a table, keyed by the name of the program."""
    path = str(real_path(table))
    depth = ("z_nm",) if has_depth(table) else ()
    names = ("frame", "x_nm", "y_nm", *depth, "photons", "prob")
    quoted = " ".join(f'"{name}"' for name in names)
    matlab, sql = (path.replace(quote, 2 * quote) for quote in ('"', "'"))
    return {
        "Python, pandas": (
            "import pandas as pd\n\n"
            f"table = pd.read_parquet({path!r}, columns={list(names)},\n"
            "                        filters=[('prob', '>', 0.9)])   # omit both arguments to read everything\n"
            "table.attrs['lls_decode']['columns']['x_nm']             # unit and meaning"
        ),
        "DuckDB, larger than memory": (
            "SELECT frame, count(*) AS localizations, median(photons) AS photons\n"
            f"FROM '{sql}'\nWHERE prob > 0.9 GROUP BY frame ORDER BY frame;"
        ),
        "MATLAB": (
            f'file = "{matlab}";\n'
            f"table = parquetread(file, SelectedVariableNames=[{quoted}]);\n"
            "table = table(table.prob > 0.9, :);"
        ),
        "SMAP, Picasso, ThunderSTORM, .smlm": shell_command("export", path, "cell_sml.mat"),
    }
