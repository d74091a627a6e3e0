"""Encryption and authentication between the processes of a cluster.

Dask runs any function that a client sends to a scheduler. A port on the loopback interface is open to every user of the
machine, so each cluster that lls_decode starts accepts only processes that hold its keys.
"""

from distributed.security import Security

from lls_decode.errors import SiteError

PROTOCOL = "tls://"


def make_security(*, otherwise: str) -> Security:
    """Make new keys for one cluster; they stay in memory unless somebody writes them.

    Parameters
    ----------
    otherwise
        What a user can do when the keys cannot be made, as the end of a sentence.

    Raises
    ------
    SiteError
        The package that makes keys is not installed.
    """
    try:
        made: Security = Security.temporary()
    except ImportError as error:
        raise SiteError(
            "The package cryptography, which makes the keys of a cluster, is not installed; run "
            f"pip install cryptography{otherwise}."
        ) from error
    return made
