"""TELL, as data: a run as typed plain values, written once and read by all who tell of it.

Comes in: outcomes. Goes out: the run's record. Imports `suite`, `exploration` and what is below.
A reader of records needs `schema`, `validation`, `reading` and `writing` alone; these import only each other.
"""
