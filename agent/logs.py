"""The daemon's log: one JSON object per line. Never the source of truth; that is the store."""

from __future__ import annotations

import logging
from pathlib import Path

import structlog


def configure_logging(path: Path) -> None:
    """Log events as JSON lines to a file."""
    handler = path.open("a", encoding="utf-8", buffering=1)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=handler),
        cache_logger_on_first_use=False,
    )
