"""TELL, as data: a run as typed plain values, written once and read by all who tell of it.

Input: outcomes. Output: the run's record. May import `suite`, `exploration` and what is below; `schema` and `reading`
load no library of numbers.
"""
