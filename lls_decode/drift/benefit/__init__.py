"""Whether a correction helps: judged by rows that it was not made from."""
