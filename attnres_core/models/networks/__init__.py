"""The layers themselves: one loop over sites, one routing operation, and the interventions in it.

Comes in: token ids, overrides. Goes out: states and depth weights. Imports `models.dialects` and `quantities`.
"""
