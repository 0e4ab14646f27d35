"""JUDGE: columns and a claim's registration become decisions, decisions become outcomes.

Comes in: columns and standings. Goes out: frozen outcomes. Imports `engine`, `statistics`, `claims` and what is below.
"""
