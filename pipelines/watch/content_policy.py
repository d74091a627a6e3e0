"""Content security policy: a browser runs only scripts of Bokeh and of the page, never text from a run folder."""

import re
import secrets
from typing import Any

from bokeh.server.tornado import BokehTornado
from bokeh.server.views.doc_handler import DocHandler
from markupsafe import Markup

_SCRIPT = re.compile(r"<script(?=[\s>])")
_OF_DASK = "'unsafe-hashes' 'sha256-DLsspdO65egz8GmJ7gT7AHNirrsTFzKLBvF8tcsc82Y='"
"""Hash of the handler ``myFunction()``, which opens Dask's bar of links on a narrow screen."""


def content_policy(nonce: str) -> str:
    """Return the policy of a page whose own scripts have a nonce. Bokeh adds styles to the page, but no scripts."""
    return (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}' {_OF_DASK}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "object-src 'none'; frame-ancestors 'self'"
    )


class RestrictedDocHandler(DocHandler):
    """Handler that serves a document whose scripts have a nonce, which is new for each response."""

    def write(self, chunk: Any) -> None:
        """Write the page. It contains no text of a run, which is sent later through the connection of the page."""
        nonce = secrets.token_urlsafe(16)
        self.set_header("Content-Security-Policy", content_policy(nonce))
        self.set_header("X-Content-Type-Options", "nosniff")
        super().write(
            _SCRIPT.sub(Markup('<script nonce="{}"').format(nonce), chunk) if isinstance(chunk, str) else chunk
        )


def restrict_scripts(application: BokehTornado) -> None:
    """Make an application serve all its documents with a content security policy."""
    for rule in application.wildcard_router.rules:
        if rule.target is DocHandler:
            rule.target = RestrictedDocHandler
