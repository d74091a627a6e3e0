"""File in which the driver publishes its address for the workers; each start of the driver replaces the file.

The file also holds the encryption keys, so only the user can read it.
"""

import json
import os
import socket
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from distributed.security import Security

from lls_decode.documents import read_json
from lls_decode.errors import SiteError

FILE_NAME = "scheduler.json"


@dataclass(frozen=True)
class Rendezvous:
    """Connection details of the driver for its workers."""

    address: str
    host: str
    job: str
    """Job id of the driver; empty outside SLURM."""
    dashboard_port: int
    """Port of the dashboard on the loopback of ``host``; 0: no dashboard."""
    key: str
    """Private key of the encryption (PEM); empty: no encryption."""
    certificate: str
    """Certificate of the encryption (PEM); empty: no encryption."""

    @classmethod
    def of(cls, address: str, security: Security | None, dashboard_port: int) -> Self:
        """Return the connection details of a scheduler in this process."""
        keys: Any = security
        return cls(
            address=address,
            host=socket.gethostname(),
            job=os.environ.get("SLURM_JOB_ID", ""),
            dashboard_port=dashboard_port,
            key=str(keys.tls_worker_key) if security else "",
            certificate=str(keys.tls_worker_cert) if security else "",
        )

    @property
    def security(self) -> Security | None:
        """Keys and certificate as a Dask security object; None without encryption."""
        if not self.key:
            return None
        roles = ("client", "scheduler", "worker")
        return Security(
            require_encryption=True,
            tls_ca_file=self.certificate,
            **{f"tls_{role}_key": self.key for role in roles},
            **{f"tls_{role}_cert": self.certificate for role in roles},
        )

    def write(self, folder: Path) -> None:
        """Publish the details in a file that only the user can read; it is written aside and then renamed.

        Raises
        ------
        SiteError
            The folder cannot be written.
        """
        aside = folder / f".{FILE_NAME}.{uuid.uuid4().hex[:8]}"
        try:
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                json.dump(asdict(self), file)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(folder / FILE_NAME)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise SiteError(
                f"{folder} cannot be written ({error.strerror}), but workers find the driver through a file in it."
            ) from error

    def remove(self, folder: Path) -> None:
        """Delete the published file, unless another driver has replaced it."""
        if read_rendezvous(folder) == self:
            (folder / FILE_NAME).unlink(missing_ok=True)


def read_rendezvous(folder: Path) -> Rendezvous | None:
    """Return the details that the latest driver has published; None if there are none."""
    try:
        data = read_json(folder / FILE_NAME)
        return Rendezvous(**data)
    except (OSError, ValueError, TypeError):
        return None
