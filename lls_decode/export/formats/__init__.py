"""Table formats of other programs. A format is one module here and one line in `exporting` or `importing`."""
