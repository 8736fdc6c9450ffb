"""Simulated robots in PyBullet, behind the protocol that real robots share (`sim.robot`)."""
