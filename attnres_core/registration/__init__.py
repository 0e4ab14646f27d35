"""Registered claims: the lock, the ledger, what was read before, and who can attest to it.

Input: claims and the digests of prompts. Output: what each claim's verdict may rest on. May import `claims`, `prompts`,
`statistics` and what is below; knows no pytest, no model and no store.
"""
