"""Where the driver is: a file that it writes and workers read, renewed with each start of the driver.

It holds the keys of the encryption too, which is why only its user can read it.
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
    """What workers must know of the driver."""

    address: str
    host: str
    job: str
    """Id of the driver's job; empty outside of SLURM."""
    dashboard_port: int
    """On the loopback of ``host``; 0: there is no dashboard."""
    key: str
    """PEM, as the next one; empty: no encryption."""
    certificate: str

    @classmethod
    def of(cls, address: str, security: Security | None, dashboard_port: int) -> Self:
        """That of this process."""
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
        """The keys as Dask takes them."""
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
        """Publish, aside and renamed, readable by the user only.

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
            raise SiteError(f"{folder} cannot be written ({error.strerror}); workers find the driver there.") from error

    def remove(self, folder: Path) -> None:
        """Take it back, unless another driver has written its own."""
        if read_rendezvous(folder) == self:
            (folder / FILE_NAME).unlink(missing_ok=True)


def read_rendezvous(folder: Path) -> Rendezvous | None:
    """What the latest driver has published; None when there is none."""
    try:
        data = read_json(folder / FILE_NAME)
        return Rendezvous(**data)
    except (OSError, ValueError, TypeError):
        return None
