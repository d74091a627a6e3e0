"""Entry point of ``python -m lls_decode.pipelines.cli``, which driver jobs use to start the program."""

from . import main

if __name__ == "__main__":
    main()
