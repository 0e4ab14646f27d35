"""A checkpoint's files: where they lie, which dialect they hold, what they need of memory; no torch.

Comes in: a folder or hub id. Goes out: a `Checkpoint`. Imports `models.adapters`, `models.dialects` and `quantities`.
"""
