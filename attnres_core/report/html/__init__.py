"""The pages: of a run and of two runs side by side, each one self-contained file.

Input: a record. Output: HTML. May import `records`, `report.numbers`, `report.verdict_signs` and `report.wording`.
"""
