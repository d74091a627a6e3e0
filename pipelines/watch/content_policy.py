"""What a browser may run on the page: the scripts of Bokeh and of the page itself; nothing that a run folder says."""

import re
import secrets
from typing import Any

from bokeh.server.tornado import BokehTornado
from bokeh.server.views.doc_handler import DocHandler
from markupsafe import Markup

_SCRIPT = re.compile(r"<script(?=[\s>])")
_OF_DASK = "'unsafe-hashes' 'sha256-DLsspdO65egz8GmJ7gT7AHNirrsTFzKLBvF8tcsc82Y='"
"""The handler ``myFunction()`` in Dask's bar of links, which opens it on a narrow screen."""


def content_policy(nonce: str) -> str:
    """Return the policy of a page whose own scripts bear a nonce; Bokeh writes styles into the page, never scripts."""
    return (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}' {_OF_DASK}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "object-src 'none'; frame-ancestors 'self'"
    )


class RestrictedDocHandler(DocHandler):
    """Serves a document whose scripts bear a nonce, which changes with every answer."""

    def write(self, chunk: Any) -> None:
        """Write the page; no text of a run is in it, as that comes later, through the page's own connection."""
        nonce = secrets.token_urlsafe(16)
        self.set_header("Content-Security-Policy", content_policy(nonce))
        self.set_header("X-Content-Type-Options", "nosniff")
        super().write(
            _SCRIPT.sub(Markup('<script nonce="{}"').format(nonce), chunk) if isinstance(chunk, str) else chunk
        )


def restrict_scripts(application: BokehTornado) -> None:
    """Let all documents of an application be served with a policy."""
    for rule in application.wildcard_router.rules:
        if rule.target is DocHandler:
            rule.target = RestrictedDocHandler
