"""The config of a Qwen3-shaped AttnRes checkpoint."""

from transformers.models.qwen3.configuration_qwen3 import Qwen3Config


class Qwen3AttnResConfig(Qwen3Config):
    """A Qwen3 config that also holds the routing's own fields (`attnres_mode`, `attnres_num_blocks`, ...)."""

    model_type = "qwen3_attnres"
