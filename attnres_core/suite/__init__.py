"""The conductor of a run: its inputs, and the order of its work.

Input: settings and claims. Output: outcomes. May import `judging`, `engine`, `planning` and what is below; no pytest.
"""
