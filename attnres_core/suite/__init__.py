"""The conductor of a run: its inputs, and the order of its work.

Comes in: settings and claims. Goes out: outcomes. Imports `judging`, `engine`, `planning` and what is below; no pytest.
"""
