"""The files of a run folder: record, lock, ledger and events, each written and read in one place."""
