"""The public functions of ``import lls_decode``, which do in Python what the commands do.

Each function accepts the user's paths, names and dictionaries, and delegates the work to the other modules. The table
``FRONT_DOOR`` in ``lls_decode/__init__.py`` maps the public names to these functions.
"""
