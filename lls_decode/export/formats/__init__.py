"""Table formats of other programs. Each format is one module here and one entry in `exporting` or `importing`."""
