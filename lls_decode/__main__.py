"""``python -m lls_decode``: the command line."""

from lls_decode.pipelines.cli import main

if __name__ == "__main__":
    main()
