"""The configuration that a home was last run with."""

from __future__ import annotations

import json
from pathlib import Path

from agent.config import Config
from persistence.home import Home
from persistence.store import Store


def stored_config(home: Path) -> Config:
    """The configuration of the newest run of a home; the defaults where there is none."""
    path = Home(home).db
    if not path.is_file():
        return Config()
    with Store.open(path, read_only=True) as store:
        rows = store.rows("SELECT config FROM runs ORDER BY id DESC LIMIT 1")
    return Config.from_dict(json.loads(rows[0]["config"])) if rows else Config()
