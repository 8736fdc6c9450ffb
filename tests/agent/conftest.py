"""The world of the pilot's scenarios as a fixture."""

import itertools

import pytest
from pilot_world import World


@pytest.fixture
def world(tmp_path):
    worlds = []

    def make(**options) -> World:
        worlds.append(World(tmp_path / str(len(worlds)), **options))
        return worlds[-1]

    yield make
    for made in worlds:
        # Whatever happened: the books cover all of the observed time, without a gap.
        rows = made.rows("SELECT started_s, ended_s FROM state_intervals ORDER BY started_s")
        assert all(before[1] == after[0] for before, after in itertools.pairwise(rows))
        made.writer.close()
