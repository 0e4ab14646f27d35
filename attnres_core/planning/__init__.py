"""PLAN: what a set of quantities needs, each request resolved once.

Comes in: quantities and a run's material. Goes out: resolved requests and bundles of work. Imports `models` (what is
known without torch), `quantities` and the ground modules.
"""
