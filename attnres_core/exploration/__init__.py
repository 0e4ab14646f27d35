"""Looking for what to claim: the map of every pathway, its first-order screen, counterexamples. Never a verdict.

Comes in: a checkpoint and prompts. Goes out: tables and prompts to look at. Imports `engine`, `planning`, `claims` and
what is below.
"""
