"""The error of a checkpoint that cannot be read: what was found, what is supported, what to do."""

from __future__ import annotations

from pathlib import Path

SUPPORTED = (
    "AttnRes checkpoints on a Qwen3 or Llama backbone (model_type qwen3_attnres, llama_attnres), nanoGPT's (nanogpt), "
    "FLA's transformer (transformer), inkling2 language models (inkling2_text), and vanilla ones to wrap (qwen3, "
    "llama, nanogpt, transformer), retrofits of these (attnres_retrofit); by adapters that are built in, FLA's other "
    "families, Kimi K3's and the models of "
    "transformers with hyper-connections (deepseek_v4, glm5_next, hy_v4, qwen4_exp)"
)


class UnsupportedCheckpoint(ValueError):
    """A checkpoint that is not what this library can read; says what was found, what is supported, what to do."""

    def __init__(self, where: Path | str, found: str, remedy: str) -> None:
        self.remedy = remedy
        super().__init__(f"{where}: {found}. {self.allowed()}{remedy}")

    def allowed(self) -> str:
        """Return the sentence that lists what is supported, and a space."""
        return f"Supported: {SUPPORTED}. "


class CheckpointNotFound(UnsupportedCheckpoint):
    """There is no checkpoint where one was named; what this library can read is no help then, and is not listed."""

    def allowed(self) -> str:
        """Return nothing."""
        return ""
