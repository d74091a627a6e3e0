"""Orchestration: plans, tasks, the run loop and the command line decide the order of the work and distribute it."""

if __name__ != "lls_decode.pipelines":
    raise ImportError(f"This folder is installed as lls_decode.pipelines; it cannot be imported as {__name__!r}.")
