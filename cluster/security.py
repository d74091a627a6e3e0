"""Encryption and authentication between the processes of a cluster.

Dask runs any function that a client sends to a scheduler. A port on the loopback interface is open to every user of the
machine, so each cluster that lls_decode starts accepts only processes that hold its keys.
"""

from distributed.security import Security

PROTOCOL = "tls://"


def make_security() -> Security:
    """Make new keys for one cluster; they stay in memory unless somebody writes them."""
    made: Security = Security.temporary()
    return made
