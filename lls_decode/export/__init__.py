"""Export and import of tables: files of other programs."""
