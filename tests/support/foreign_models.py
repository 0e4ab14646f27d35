"""Small models with the structure, parameter names and routing calls of FLA's and Kimi K3's public code.

Attention, MLP and norms are Qwen3's, so that one set of weights also makes a `kimi_block` checkpoint of ours.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers.models.qwen3.configuration_qwen3 import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention, Qwen3MLP, Qwen3RMSNorm, Qwen3RotaryEmbedding


def fused_attnres(query, residuals, rms_weight, output_rms_weight=None, rms_eps=1e-6, scale=1.0):
    values = torch.stack(list(residuals)).float()
    keys = F.rms_norm(values, values.shape[-1:], rms_weight.float(), rms_eps)
    weights = (keys @ (query.flatten().float() * scale)).softmax(0)
    mixed = (weights[..., None] * values).sum(0)
    if output_rms_weight is not None:
        mixed = F.rms_norm(mixed, mixed.shape[-1:], output_rms_weight.float(), rms_eps)
    return mixed.to(residuals[0].dtype)


def _apply_attn_res(prefix_sum, block_residual, proj, norm):
    values = torch.cat((block_residual, prefix_sum.unsqueeze(1)), dim=1).float()
    keys = values * torch.rsqrt(values.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon)
    scores = (keys * (norm.weight.float() * proj.weight.squeeze(0).float())).sum(-1)
    return torch.matmul(scores.softmax(-1).unsqueeze(1), values).squeeze(1).to(prefix_sum.dtype)


def inputs_of(config, rotary, embedded, mask):
    """Rotary tables and the attention's boolean mask; positions count from the first real token."""
    batch, length, _ = embedded.shape
    mask = torch.ones(batch, length) if mask is None else mask
    positions = (mask.long().cumsum(-1) - 1).clamp(min=0)
    causal = torch.ones(length, length, dtype=torch.bool).tril() & mask.bool()[:, None, :]
    return rotary(embedded, positions), (causal | torch.eye(length, dtype=torch.bool))[:, None]


class Layer(nn.Module):
    """Attention and MLP with FLA's names or Kimi K3's; the attention's pseudo-query is named after `site`."""

    def __init__(self, config, index, attention, norms, site):
        super().__init__()
        setattr(self, attention, Qwen3Attention(config, index))
        self.mlp = Qwen3MLP(config)
        for name in norms:
            setattr(self, name, Qwen3RMSNorm(config.hidden_size, config.rms_norm_eps))
        for name in (site, "mlp_res"):
            setattr(self, f"{name}_proj", nn.Linear(config.hidden_size, 1, bias=False))
            setattr(self, f"{name}_norm", Qwen3RMSNorm(config.hidden_size, config.rms_norm_eps))


class FLAConfig(Qwen3Config):
    model_type = "fla_like"
    attnres_block_size: int = 4


class FLALike(PreTrainedModel):
    """Blocks of `attnres_block_size` sublayers; the norm before a sublayer is folded into the routing call."""

    config_class = FLAConfig
    _supports_sdpa = True

    def __init__(self, config):
        super().__init__(config)
        self.model = nn.Module()
        self.model.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.model.layers = nn.ModuleList(
            Layer(config, index, "attn", ("attn_norm", "mlp_norm"), "attn_res")
            for index in range(config.num_hidden_layers)
        )
        self.model.res_proj = nn.Linear(config.hidden_size, 1, bias=False)
        self.model.res_norm = Qwen3RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.model.norm = Qwen3RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.model.rotary_emb = Qwen3RotaryEmbedding(config=config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids, attention_mask=None):
        body, eps = self.model, self.config.rms_norm_eps
        running = body.embeddings(input_ids)
        rotary, mask = inputs_of(self.config, body.rotary_emb, running, attention_mask)
        states, sublayer = [], 0
        for layer in body.layers:
            for site, norm in (("attn", layer.attn_norm), ("mlp", layer.mlp_norm)):
                residuals = [*states, running]
                if sublayer % self.config.attnres_block_size == 0:
                    states, running = residuals, None
                if len(residuals) == 1:  # a mixture of one
                    read = norm(residuals[0])
                else:
                    proj, keys = getattr(layer, f"{site}_res_proj"), getattr(layer, f"{site}_res_norm")
                    read = fused_attnres(
                        query=proj.weight,
                        residuals=residuals,
                        rms_weight=keys.weight,
                        output_rms_weight=norm.weight,
                        rms_eps=eps,
                    )
                output = layer.attn(read, rotary, mask)[0] if site == "attn" else layer.mlp(read)
                running = output if running is None else running + output
                sublayer += 1
        read = fused_attnres(body.res_proj.weight, [*states, running], body.res_norm.weight, rms_eps=eps)
        return self.lm_head(body.norm(read))


class KimiLike(nn.Module):
    """Blocks of `block_size` decoder layers; states flattened to tokens where sources are read."""

    def __init__(self, config, block_size):
        super().__init__()
        self.config, self.block_size = config, block_size
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        names = ("input_layernorm", "post_attention_layernorm")
        self.model.layers = nn.ModuleList(
            Layer(config, index, "self_attn", names, "self_attention_res") for index in range(config.num_hidden_layers)
        )
        self.model.output_attn_res_proj = nn.Linear(config.hidden_size, 1, bias=False)
        self.model.output_attn_res_norm = Qwen3RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.model.norm = Qwen3RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.model.rotary_emb = Qwen3RotaryEmbedding(config=config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, input_ids, attention_mask=None):
        body = self.model
        running = body.embed_tokens(input_ids)
        shape = running.shape
        rotary, mask = inputs_of(self.config, body.rotary_emb, running, attention_mask)
        blocks = running.new_zeros(shape[0] * shape[1], 0, shape[2])

        def read(proj, norm):
            return _apply_attn_res(running.reshape(-1, shape[2]), blocks, proj, norm).view(shape)

        for index, layer in enumerate(body.layers):
            mixed = read(layer.self_attention_res_proj, layer.self_attention_res_norm) if index else running
            starts = index % self.block_size == 0
            if starts:
                blocks = torch.cat([blocks, running.reshape(-1, 1, shape[2])], 1)
            output = layer.self_attn(layer.input_layernorm(mixed), rotary, mask)[0]
            running = output if starts else running + output
            running = running + layer.mlp(layer.post_attention_layernorm(read(layer.mlp_res_proj, layer.mlp_res_norm)))
        return self.lm_head(body.norm(read(body.output_attn_res_proj, body.output_attn_res_norm)))


FLA_NAMES = {
    "embed_tokens.": "embeddings.",
    "input_layernorm.": "attn_norm.",
    "post_attention_layernorm.": "mlp_norm.",
    "self_attn.": "attn.",
    "final_res_": "res_",
}
KIMI_NAMES = {"final_res_": "output_attn_res_", "attn_res_": "self_attention_res_"}


def with_weights_of(network, model, names):
    """The same weights as one of our `kimi_block` models, under other names."""
    state = {}
    for key, tensor in model.network.state_dict().items():
        for ours, theirs in names.items():
            if ours in key:
                key = key.replace(ours, theirs)
                break
        state[key] = tensor
    network.load_state_dict(state)
    return network.eval()
