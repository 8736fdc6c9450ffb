"""The daemon's log: one JSON object per line. Never the source of truth; that is the store."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TextIO, cast

import structlog

from agent.background import BackgroundWriter


def configure_logging(path: Path, background: BackgroundWriter) -> None:
    """Log events as JSON lines to a file, written in the background."""
    file = _BackgroundFile(path.open("a", encoding="utf-8", buffering=1), background)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, file)),
        cache_logger_on_first_use=False,
    )


class _BackgroundFile:
    """As much of a text file as structlog uses."""

    def __init__(self, file: TextIO, background: BackgroundWriter) -> None:
        self._file = file
        self._background = background

    def write(self, text: str) -> None:
        self._background.submit(partial(self._file.write, text))

    def flush(self) -> None:
        """A line is flushed when it is written."""
