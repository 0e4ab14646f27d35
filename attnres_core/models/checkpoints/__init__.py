"""A checkpoint's files: where they lie, which dialect they hold, what they need of memory; no torch.

Input: a folder or hub id. Output: a `Checkpoint`. May import `models.adapters`, `models.dialects` and `quantities`.
"""
