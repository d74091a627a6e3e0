"""In what order, and over how many workers: plans, tasks, the run loop, the command line."""

if __name__ != "lls_decode.pipelines":
    raise ImportError(f"This folder is installed as lls_decode.pipelines; it cannot be imported as {__name__!r}.")
