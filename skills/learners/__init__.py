"""Learners: they turn stored transitions into new versions of a policy, in a process of their own."""
