"""What workers of this machine say when a run is stopped."""

import logging

import pytest

from lls_decode.cluster.machine.preload import shorten_heartbeat


def test_a_heartbeat_that_meets_a_closing_scheduler_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("test.heartbeat")
    logger.addFilter(shorten_heartbeat)
    for words in ("Failed to communicate with scheduler during heartbeat.", "Unexpected exception during heartbeat."):
        try:
            raise OSError("closed")
        except OSError:
            logger.exception(words)
    first, second = caplog.records
    assert first.exc_info is None, "but it is said"
    assert second.exc_info is not None, "other errors keep their traceback"
