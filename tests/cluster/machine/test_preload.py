"""Log messages of local workers when a run is stopped."""

import logging

import pytest

from lls_decode.cluster.machine.preload import shorten_heartbeat


def test_a_failed_heartbeat_to_a_closing_scheduler_is_logged_without_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("test.heartbeat")
    logger.addFilter(shorten_heartbeat)
    for words in ("Failed to communicate with scheduler during heartbeat.", "Unexpected exception during heartbeat."):
        try:
            raise OSError("closed")
        except OSError:
            logger.exception(words)
    first, second = caplog.records
    assert first.exc_info is None, "the message is logged without its traceback"
    assert second.exc_info is not None, "other errors keep their traceback"
