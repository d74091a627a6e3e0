"""``python -m lls_decode.pipelines.cli``: how a driver job starts us."""

from . import main

main()
