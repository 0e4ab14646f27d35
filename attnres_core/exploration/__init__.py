"""Looking for what to claim: the map of every pathway, its first-order screen, counterexamples. Never a verdict.

Input: a checkpoint and prompts. Output: tables, and prompts to look at. May import `engine`, `planning`, `claims` and
what is below, not `judging`.
"""
