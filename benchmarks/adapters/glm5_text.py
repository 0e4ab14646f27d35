"""An adapter: glm5_next's text model, for which `transformers` has no class with a head; its streams are read.

    pytest hypotheses/ --attnres-trained FOLDER --attnres-adapter glm5_text:load

The folder holds the text model's config.json, and the weights of `WithHead` as model.safetensors.
"""

import torch
from safetensors.torch import load_file
from torch import nn
from transformers.models.glm5_next.configuration_glm5_next import Glm5NextTextConfig
from transformers.models.glm5_next.modeling_glm5_next import Glm5NextTextModel

import attnres_core as ac
from attnres_core.models.adapters.hyper_connections import calls_of


class WithHead(nn.Module):
    """The text model with an unembedding."""

    def __init__(self, config):
        super().__init__()
        self.config, self.model = config, Glm5NextTextModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, input_ids, attention_mask=None):
        """Logits; no cache is made."""
        read = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        return self.lm_head(read)


def load(folder, *, device, dtype, untrained=False):
    """The model of such a folder."""
    config = Glm5NextTextConfig.from_pretrained(folder)
    network = WithHead(config)
    if not untrained:
        network.load_state_dict(load_file(folder / "model.safetensors"))
    return ac.adapt(
        network.to(torch.device(device), dtype),
        *calls_of("glm5_next"),
        vocabulary=config.vocab_size,
        context=config.max_position_embeddings,
        dialect="hyper_connections",
    )
