"""The layers themselves: one loop over sites, one routing operation, and the interventions in it.

Input: token ids and overrides. Output: states and depth weights. May import `models.dialects` and `quantities`.
"""
