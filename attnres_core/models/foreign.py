"""Kimi K3's and FLA's routing calls, described: the path that docs/adapters.md gives."""

from attnres_core.models.adapters.foreign import FLA, KIMI_K3

__all__ = ["FLA", "KIMI_K3"]
