"""`AttnResModel`: what every dialect looks like from outside. Logits, depth weights, ablations."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from attnres_core.models.geometry import Described
from attnres_core.models.networks.fitting import fitting
from attnres_core.models.networks.network import Network
from attnres_core.models.networks.overrides import Overrides
from attnres_core.models.networks.precision import exact_arithmetic
from attnres_core.models.networks.reference_states import Donors, Reference
from attnres_core.prompts import Pairs, check_pairs, token_rows
from attnres_core.quantities.intervention import composed, resolve
from attnres_core.quantities.quantity import Ablation
from attnres_core.quantities.vocabulary import Site, SiteKey
from attnres_core.shapes import Float, Int


class AttnResModel:
    """A loaded checkpoint, made by `load_model`, or a torch model seen through an adapter, made by `adapt`."""

    def __init__(self, checkpoint: Described, network: Network) -> None:
        self.checkpoint = checkpoint
        self.network = network
        self._by_key = {site.key: site for site in self.sites}
        self._loaded = self._state()

    def _state(self) -> tuple[object, ...]:
        """When the checkpoint's files were changed last, and how often the weights in memory were."""
        files: Sequence[Path] = getattr(self.checkpoint, "files", ())
        stats = [file.stat() for file in files if file.is_file()]
        edits = sum(each._version for each in self.network.parameters() if not each.is_inference())
        return edits, *((stat.st_size, stat.st_mtime_ns) for stat in stats)

    @property
    def is_as_loaded(self) -> bool:
        """False once the checkpoint's files were written again, or weights were changed in place."""
        return self._state() == self._loaded

    @property
    def dialect(self) -> str:
        """The name of its schedule, such as `open_block`, `kimi_block`, `delta` or `wrapped`; or an adapter's own."""
        return self.checkpoint.dialect_name

    @property
    def sites(self) -> tuple[Site, ...]:
        """Every routing site, in forward order."""
        return self.checkpoint.sites

    @property
    def num_layers(self) -> int:
        """The number of decoder layers."""
        return self.checkpoint.num_layers

    @property
    def device(self) -> torch.device:
        """Return where token ids go and results lie: where the weights are, or the first of them."""
        return self.network.device

    def _facts(self) -> dict[str, object]:
        own = self.checkpoint
        families = dict.fromkeys(family.value for site in self.sites for family in site.sources if family)
        return {
            "dialect": self.dialect,
            "layers": self.num_layers,
            "routing sites": len(self.sites),
            "families": ", ".join(families),
            "context": f"{own.context} tokens",
            "weights": f"{self.network.dtype} on {self.device}".removeprefix("torch."),
            "digest": own.digest[:12] or "not known",
        }

    def __repr__(self) -> str:
        """Return the model's name and facts, and which families its sites read, in a line."""
        return f"<{self.checkpoint.name}: {'; '.join(f'{name}: {value}' for name, value in self._facts().items())}>"

    def _repr_html_(self) -> str:
        """Return the same as a table, for a notebook."""
        own, rows = self.checkpoint, self._facts()
        cells = "".join(f"<tr><th>{name}</th><td>{html.escape(str(value))}</td></tr>" for name, value in rows.items())
        return f"<table><caption><strong>{html.escape(own.name)}</strong></caption><tbody>{cells}</tbody></table>"

    def site_at(self, key: SiteKey) -> Site:
        """The site at a key."""
        return self._by_key[key]

    @torch.inference_mode()
    @exact_arithmetic()
    def logits(
        self,
        input_ids: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
        ablation: Ablation | Sequence[Ablation] | None = None,
        reference: Sequence[Sequence[int]] | None = None,
        donors: Sequence[Sequence[int]] | None = None,
    ) -> Float[Tensor, "batch pos vocab"]:
        """Next-token logits, in float32; values at padded positions mean nothing.

        Args:
            input_ids: token ids.
            attention_mask: 1 at real tokens, 0 at padding (on either side).
            ablation: applied to every row at every position; of a list, all act together, in no order.
            reference: token ids of the reference prompts, for kinds that put something measured there in place
                (the constants of `optimal` are fitted to them in every call: `ac.measure` fits once).
            donors: token ids of each row's donor (without padding), for interchanges.

        Raises:
            ValueError: malformed ids or mask; an ablation whose layers this model does not have, that averages
                several runs, or that needs reference prompts and has none; two about the same source.
            NotApplicable: an ablation of a family that is not there.
        """
        ids, mask = self._inputs(input_ids, attention_mask)
        network = self.network
        overrides = self._overrides(ablation, ids, mask, reference, donors)
        hidden = network.run(network.begin(ids), network.prepare(ids, mask), overrides=overrides)
        return network.unembed(hidden).to(self.device)

    @torch.inference_mode()
    @exact_arithmetic()
    def depth_weights(
        self,
        input_ids: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
        ablation: Ablation | Sequence[Ablation] | None = None,
        reference: Sequence[Sequence[int]] | None = None,
        donors: Sequence[Sequence[int]] | None = None,
    ) -> dict[Site, Float[Tensor, "source batch pos"]]:
        """The depth weights of every site, in float32; arguments and errors as for `logits`."""
        ids, mask = self._inputs(input_ids, attention_mask)
        found: dict[Site, Tensor] = {}
        self.network.run(
            self.network.begin(ids),
            self.network.prepare(ids, mask),
            overrides=self._overrides(ablation, ids, mask, reference, donors),
            observe=lambda key, sources, read: found.__setitem__(self.site_at(key), read.weights.to(self.device)),
        )
        return found

    def _overrides(
        self,
        ablation: Ablation | Sequence[Ablation] | None,
        ids: Tensor,
        mask: Tensor | None,
        reference: Sequence[Sequence[int]] | None,
        donors: Sequence[Sequence[int]] | None,
    ) -> Overrides | None:
        if ablation is None:
            return None
        several = [ablation] if isinstance(ablation, Ablation) or not isinstance(ablation, Sequence) else ablation
        for each in several:
            if not isinstance(each, Ablation):
                raise ValueError(f"`ablation` is {each}; give drop(...), without .on(...)")
            if each.per_site:
                raise ValueError(f"`{each}` is several runs, one a layer; give one layer: range(l, l + 1)")
            if each.kind.spec.whole:
                raise ValueError(f"`{each}` is the donor's own run; give `logits` the donor's token ids")
            if each.draws > 1:
                raise ValueError(f"`{each}` averages several runs; give draws=1")
        together = composed([resolve(each, self.sites, self.num_layers) for each in several])
        real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
        tokens = [row[own].tolist() or [0] for row, own in zip(ids, real, strict=True)]  # (a row of padding alone)
        positions = (real.long().cumsum(-1) - 1).clamp(min=0)
        found = None
        if reference is not None:
            names = [f"{index} of `reference`" for index in range(len(reference))]
            limits = (self.network.vocabulary, self.checkpoint.context)
            rows = token_rows(reference, "reference", names, limits)
            found = Reference(self.network, rows, fitting(self.network, rows))
        pairs = None
        if donors is not None:
            limits = (self.network.vocabulary, self.checkpoint.context)
            pairs = Pairs(
                token_rows(donors, "donors", [f"{index} of `donors`" for index in range(len(donors))], limits)
            )
            check_pairs(tokens, pairs.donors, range(len(tokens)))
        return Overrides([together], tokens, positions, found, Donors(self.network, tokens, pairs))

    def _inputs(self, input_ids: Tensor, attention_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        for name, given in (("input_ids", input_ids), ("attention_mask", attention_mask)):
            whole = isinstance(given, Tensor) and not given.is_floating_point() and not given.is_complex()
            if given is not None and (not whole or (name == "input_ids" and given.dtype == torch.bool)):
                found = str(given.dtype) if isinstance(given, Tensor) else type(given).__name__
                raise ValueError(f"`{name}` is {found}; give a tensor of whole numbers, [batch, pos]")
        if input_ids.ndim != 2 or 0 in input_ids.shape:
            raise ValueError(f"`input_ids` has shape {tuple(input_ids.shape)}; give [batch, pos], at least one token")
        vocabulary = self.network.vocabulary
        if int(input_ids.min()) < 0 or int(input_ids.max()) >= vocabulary:
            row, pos = ((input_ids < 0) | (input_ids >= vocabulary)).nonzero()[0].tolist()
            where = f"`input_ids[{row}, {pos}]` is {int(input_ids[row, pos])}"
            raise ValueError(f"{where}; ids run from 0 to {vocabulary - 1}: tokenise with this model's tokenizer")
        if input_ids.shape[1] > self.checkpoint.context:
            raise ValueError(
                f"`input_ids` has {input_ids.shape[1]} positions; the context is {self.checkpoint.context}: cut it"
            )
        if attention_mask is None:
            return input_ids.to(self.device), None
        if attention_mask.shape != input_ids.shape:
            shapes = f"{tuple(attention_mask.shape)}, `input_ids` {tuple(input_ids.shape)}"
            raise ValueError(f"`attention_mask` has shape {shapes}; they must agree")
        return input_ids.to(self.device), attention_mask.to(self.device)
