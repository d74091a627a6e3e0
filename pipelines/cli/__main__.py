"""``python -m lls_decode.pipelines.cli``: how a driver job starts us."""

from . import main

if __name__ == "__main__":
    main()
