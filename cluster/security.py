"""Encryption and authentication between the processes of a cluster.

A Dask scheduler runs any function that a client sends. Ports on the loopback interface are open to every user of the
machine. Therefore each cluster that lls_decode starts accepts only processes that hold its keys.
"""

from distributed.security import Security

PROTOCOL = "tls://"


def make_security() -> Security:
    """Make new keys for one cluster; they exist in memory only, unless the caller writes them to a file."""
    made: Security = Security.temporary()
    return made
