"""Entry point of ``python -m lls_decode``, which runs the command line."""

from lls_decode.pipelines.cli import main

if __name__ == "__main__":
    main()
