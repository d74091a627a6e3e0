"""From a request to a frozen, checked plan: what is read, by which model, in which blocks. No worker is asked for."""
