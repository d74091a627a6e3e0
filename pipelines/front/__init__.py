"""The functions of ``import lls_decode``: what a command does, from Python.

Each takes paths, names and dictionaries as a user has them, and leaves the work to the rooms below. Which name of
`lls_decode` is which function says the table in ``lls_decode/__init__.py``.
"""
