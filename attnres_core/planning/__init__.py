"""PLAN: what a set of quantities needs, each request resolved once.

Input: quantities and a run's material. Output: resolved requests, and bundles of work. May import `models` (what is
known without torch), `quantities` and the ground modules.
"""
