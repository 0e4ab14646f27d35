"""The `inkling2` network: `transformers`' own modules and weights, with our routing operation between them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers.models.inkling2.configuration_inkling2 import Inkling2TextConfig
from transformers.models.inkling2.modeling_inkling2 import Inkling2ForCausalLM, Inkling2PreTrainedModel
from transformers.utils import logging

from attnres_core.models.dialects.inkling2 import STREAMS, Inkling2
from attnres_core.models.dialects.schedule import DepthStream
from attnres_core.models.networks.network import LayeredNetwork
from attnres_core.models.networks.routing import PseudoQuery, Source, summing
from attnres_core.quantities.vocabulary import SiteKey, Sublayer
from attnres_core.shapes import Float, Int

_NORMS = {
    "sliding_attention": {"hidden_states": "input_layernorm"},
    "full_attention": {
        "hidden_states": "q_input_layernorm",
        "key_hidden_states": "k_input_layernorm",
        "value_hidden_states": "v_input_layernorm",
    },
}
"""By attention type: the attention's arguments, in the order of its streams, with the norms before them."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of every layer beside the sources: positions, which of them are real, and the two attention masks."""

    positions: Tensor  # (batch, pos)
    real: Tensor | None  # (batch, pos); None: no padding
    masks: dict[str, Tensor]  # by attention type, (batch or 1, 1, pos, pos), added to the attention's logits

    def rows(self, index: Tensor) -> Inputs:
        """The same inputs for a batch made of the given rows (with repeats)."""
        masks = {name: mask if mask.shape[0] == 1 else mask[index] for name, mask in self.masks.items()}
        return Inputs(self.positions[index], None if self.real is None else self.real[index], masks)

    def to(self, device: torch.device) -> Inputs:
        """The same inputs on a device."""
        masks = {name: mask.to(device) for name, mask in self.masks.items()}
        return Inputs(self.positions.to(device), None if self.real is None else self.real.to(device), masks)


class Inkling2AttnResForCausalLM(LayeredNetwork, Inkling2ForCausalLM):
    """`transformers`' model, run site by site; its own `forward` stays what it is."""

    config_class = Inkling2TextConfig
    float32 = tuple(Inkling2PreTrainedModel._keep_in_fp32_modules_strict)  # as the library itself loads it

    def __init__(self, config: Inkling2TextConfig, dialect: Inkling2) -> None:
        super().__init__(config)
        self.dialect = dialect

    @property
    def vocabulary(self) -> int:
        """Return how many tokens there are; rows of the embedding beyond it are padding."""
        return min(self.config.vocab_size, self.config.unpadded_vocab_size)

    def prepare(
        self, input_ids: Int[Tensor, "batch pos"], attention_mask: Int[Tensor, "batch pos"] | None = None
    ) -> Inputs:
        """Positions and masks; positions count from the first real token, so padding changes nothing."""
        batch, length = input_ids.shape
        positions = torch.arange(length, device=input_ids.device).expand(batch, -1)
        real = None
        if attention_mask is not None and not bool(attention_mask.all()):
            real = attention_mask.bool()
            positions = (real.long().cumsum(-1) - 1).clamp(min=0)
        shape = torch.empty(batch, length, 0, dtype=self.model.embed_tokens.weight.dtype, device=input_ids.device)
        of: dict[str, Any] = {"config": self.config, "inputs_embeds": shape, "attention_mask": real}
        masks: dict[str, Any] = {
            "full_attention": create_causal_mask(**of, past_key_values=None),
            "sliding_attention": create_sliding_window_causal_mask(**of, past_key_values=None),
        }
        return Inputs(positions, real, masks)

    def begin(self, input_ids: Int[Tensor, "batch pos"]) -> DepthStream[Source]:
        """The depth stream before layer 0."""
        eps = self.model.final_input.norm.eps

        def joined(state: Tensor, output: Tensor, sign: float) -> Tensor:  # in float32, kept in the output's dtype
            return (state.float() + sign * output.float()).to(output.dtype)

        arithmetic = summing(eps, lambda a, b: joined(a, b, 1.0), lambda a, b: joined(a, b, -1.0))
        return self.dialect.begin(Source(self.model.embed_tokens(input_ids), eps), arithmetic)

    def sources(self, stream: DepthStream[Source], key: SiteKey) -> list[Source]:
        """The states RMS-normalised: keys and values in one."""
        return [source.normalised for source in self.dialect.sources(stream)]

    def scoring(self, key: SiteKey) -> PseudoQuery:
        """A stream's pseudo-query over sqrt(d)."""
        if key.sublayer is Sublayer.FINAL:
            site = self.model.final_input
        else:
            layer = self.model.layers[key.layer]
            site = layer.attention_input if key.sublayer is Sublayer.ATTN else layer.mlp_input
        queries = site.query.float().view(-1, self.config.hidden_size)  # (stream, d)
        return PseudoQuery(queries[STREAMS.index(key.stream) if key.stream else 0] * self.config.hidden_size**-0.5)

    def write(self, layer: int, sublayer: Sublayer, read: Sequence[Tensor], inputs: Inputs) -> Source:
        """A sublayer's output: attention's in float32 and the MLP's in the weights' dtype, as the library adds them."""
        own, dtype = self.model.layers[layer], self.model.embed_tokens.weight.dtype
        if sublayer is Sublayer.MLP:
            written = own.mlp(own.post_attention_layernorm(read[0]).to(dtype))
            output = own.post_mlp_convolution(written, conv_mask=inputs.real)
        else:
            norms = _NORMS[own.attention_type]
            reads = list(read) * (len(norms) // len(read))  # (layer 0 has no site: all streams are the embedding)
            states = zip(norms.items(), reads, strict=True)
            given = {name: getattr(own, norm)(state).to(dtype) for (name, norm), state in states}
            written, _ = own.self_attn(
                **given,
                attention_mask=inputs.masks[own.attention_type],
                conv_mask=inputs.real,
                position_ids=inputs.positions,
            )
            output = own.post_attention_convolution(written, conv_mask=inputs.real).float()
        return Source(output, self.model.final_input.norm.eps)

    def normalise(self, state: Tensor) -> Tensor:
        """The last norm."""
        return self.model.norm(state).to(self.model.embed_tokens.weight.dtype)

    def unembed(self, state: Float[Tensor, "... d"]) -> Float[Tensor, "... vocab"]:
        """Next-token logits, softcapped, in float32."""
        return self.logit_softcap(self.lm_head(state).float())[..., : self.vocabulary]


def own_names(tensors: Mapping[str, Tensor], config: Inkling2TextConfig, dtype: torch.dtype) -> dict[str, Tensor]:
    """A checkpoint's tensors under the names that the library gives them, by the library's own conversion.

    `save_pretrained` writes the names of the original release. What fits nowhere keeps its name and shape, what is
    missing stays missing: both are for the caller to refuse.
    """
    with _quiet():
        loaded: Any = Inkling2ForCausalLM.from_pretrained(
            None,
            config=config,
            state_dict=dict(tensors),
            dtype=dtype,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    network, report = loaded
    found = dict(network.state_dict())
    for name in report["missing_keys"]:
        del found[name]
    for name in report["unexpected_keys"]:
        found[name] = tensors[name]
    for name, stored, _ in report["mismatched_keys"]:
        found[name] = torch.empty(stored, dtype=dtype)
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The library's bar and report held back: what is wrong with a checkpoint is told by our own error."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
