"""JUDGE: columns and a claim's registration become decisions, decisions become outcomes.

Input: columns and standings. Output: frozen outcomes. May import `engine`, `statistics`, `claims` and what is below.
"""
