"""Machines to compute on: gives a ``distributed.Client`` and knows nothing about microscopy."""

if __name__ != "lls_decode.cluster":
    raise ImportError(f"This folder is installed as lls_decode.cluster; it cannot be imported as {__name__!r}.")
