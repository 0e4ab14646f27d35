"""The page: one self-contained file, its figures drawn before it is written.

Comes in: a record. Goes out: HTML. Imports `records` and `report.wording`.
"""
