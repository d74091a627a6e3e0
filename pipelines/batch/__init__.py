"""Batches: many datasets, localized by one command on the same workers."""
