"""Frames: what is packed into one comes out of it again."""

from dataclasses import fields

import numpy as np
import pytest

from sim.a1 import a1_spec
from sim.kuka import kuka_spec
from sim.minitaur import minitaur_spec
from sim.robot import FrameLayout, Frames, Observation


@pytest.mark.parametrize("spec", [a1_spec(), minitaur_spec(), kuka_spec()], ids=lambda spec: spec.name)
@pytest.mark.parametrize("valid", [True, False])
def test_an_unpacked_frame_is_the_observation(spec, valid):
    rng, layout = np.random.default_rng(0), FrameLayout.of(spec)
    row = rng.standard_normal(layout.width).astype(np.float32)
    row[layout.slices()["base_valid"]] = float(valid)
    seen = layout.unpack(row, stamp_s=1.5)
    np.testing.assert_array_equal(layout.pack(seen), row)
    assert (seen.stamp_s, seen.base_valid, seen.image) == (1.5, valid, None)
    frames = Frames(row, layout)
    for field in {field.name for field in fields(Observation)} & set(layout.slices()) - {"base_yaw", "battery_v"}:
        np.testing.assert_array_equal(getattr(seen, field), np.squeeze(frames.field(field)))
