"""A measuring slot at work: a device, the model it holds now, and the bundles that it turns into units."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from attnres_core.engine.resources import BATCH_SIZES, Resources, check_fit, keep_freed_memory, same_kernels_every_time
from attnres_core.models.checkpoints.checkpoint import Checkpoint
from attnres_core.models.checkpoints.placement import BALANCED
from attnres_core.planning.bundles import Bundle
from attnres_core.planning.requests import CONSTANTS, HELD_OUT_LOSS, scored_for
from attnres_core.prompts import Prompt, PromptSet
from attnres_core.quantities import ablations
from attnres_core.quantities.vocabulary import AnyRole
from attnres_core.shapes import Unit

if TYPE_CHECKING:
    import numpy as np

    from attnres_core.models.model import AttnResModel
    from attnres_core.models.networks.reference_states import Reference

MANY_SITES = 3
"""So many sites are counted in a line of progress, and not named."""


class SmallerBatchWarning(UserWarning):
    """A device ran out of memory; measuring goes on with smaller batches."""


class Worker:
    """A slot's device with the model it measures now; bundles come role by role, so models change seldom.

    Args:
        checkpoints: the model in every role.
        resources: how it computes.
        device: the slot's.
        loaded: a model that is loaded already, with its role and dtype.
    """

    def __init__(
        self,
        checkpoints: Mapping[AnyRole, Checkpoint],
        resources: Resources,
        device: str,
        loaded: tuple[tuple[AnyRole, str], AttnResModel] | None = None,
    ) -> None:
        self.checkpoints, self.resources, self.device = checkpoints, resources, device
        self.batch_tokens = resources.batch_tokens
        keep_freed_memory()
        same_kernels_every_time()
        self._loaded = loaded
        self._reference: tuple[tuple[Prompt, ...], Reference] | None = None

    def measure(
        self,
        bundle: Bundle,
        missing: Mapping[str, frozenset[str]],
        constants: Mapping[str, np.ndarray] | None = None,
        tell: Callable[[str], object] = lambda words: None,
    ) -> dict[str, Unit]:
        """Measure units of a bundle, or fit the constants that it is to fit.

        Args:
            bundle: what they belong to.
            missing: the fields that are wanted, by the units' keys.
            constants: what its fits gave, by the interventions' keys.
            tell: hears how far a fit is, in words.

        Returns:
            These units by key, with the fields that are wanted and all that were scored with them.

        Raises:
            ValueError: the model cannot be loaded, does not fit the device, or cannot read the prompts.
        """
        import torch

        from attnres_core.engine.plain_path import plain_chunk
        from attnres_core.engine.sweep import sweep_chunk, validated

        torch.set_num_threads(self.resources.threads)
        model = self._model(bundle.role, bundle.dtype)
        if bundle.start:
            return {bundle.interventions[0].key: self._fit(bundle, model, tell)}
        wanted = [one for one in (*bundle.interventions, *bundle.shams) if one.key in missing]
        part = PromptSet("chunk", bundle.prompts)
        prompts, answers = validated(model, part), part.answer_ids(model.checkpoint.tokenizer_file)
        pairs = None
        if any(intervention.needs_donor for intervention in wanted):
            pairs = part.pair_ids(model.checkpoint.tokenizer_file)
        reference = self._taken_from(bundle, model) if any(i.needs_reference for i in wanted) else None
        if reference is not None and constants:
            known = {key: torch.from_numpy(array) for key, array in constants.items()}
            reference.fitted = lambda intervention: known[intervention.key]
        metrics = scored_for(field for fields in missing.values() for field in fields)
        while True:
            try:
                if bundle.plain:
                    units = plain_chunk(model, prompts, wanted, reference, answers, metrics, pairs)
                else:
                    units = sweep_chunk(
                        *(model, prompts, wanted, self.batch_tokens, reference, answers, metrics, pairs),
                        distances=bundle.distances,
                    )
                break
            except torch.OutOfMemoryError:
                if bundle.plain or self.batch_tokens <= BATCH_SIZES[-1]:
                    raise
            self.batch_tokens //= 2  # (after the handler: its traceback holds the batch's tensors)
            self._free(f"batches of {self.batch_tokens} tokens")
        if absent := sorted({field for key, fields in missing.items() for field in fields - units[key].keys()}):
            raise ValueError(f"nothing yields {', '.join(absent)}")  # (or it would be missing for ever)
        return {key: units[key] for key in missing}

    def _free(self, smaller: str) -> None:
        """Give back what an attempt that ran out of memory held, and say what is done instead."""
        import torch

        torch.cuda.empty_cache()
        message = f"{self.device} is out of memory: going on with {smaller}"
        warnings.warn(message, SmallerBatchWarning, stacklevel=3)

    def _fit(self, bundle: Bundle, model: AttnResModel, tell: Callable[[str], object]) -> Unit:
        """Fit the constants of a bundle's intervention from its start, to its prompts.

        Raises:
            ValueError: the prompts are of one document, or the model has no gradients.
        """
        import numpy as np
        import torch

        from attnres_core.engine.sweep import validated
        from attnres_core.models.networks.fitting import STEP_PROMPTS, fit

        (intervention,), steps = bundle.interventions, ablations.FIT_STEPS
        ids = validated(model, PromptSet("fitting", bundle.prompts))
        documents = [prompt.document for prompt in bundle.prompts]
        sites = list(intervention.sites)
        where = ", ".join(sites) if len(sites) < MANY_SITES else f"{len(sites)} sites"
        words = f"fitting {intervention.kind} at {where} from {bundle.start}"
        together = STEP_PROMPTS
        while True:
            try:
                found = fit(
                    *(model.network, ids, documents, intervention, bundle.start),
                    lambda done: tell(f"{words}: step {done} of {steps}"),
                    together,
                )
                break
            except torch.OutOfMemoryError:
                if together == 1:
                    raise
            together //= 2
            self._free(f"fits of {together} prompts together")
        tell("")
        return {CONSTANTS: found.constants.numpy(), HELD_OUT_LOSS: np.array([found.loss])}

    def _taken_from(self, bundle: Bundle, model: AttnResModel) -> Reference:
        """The bundle's reference prompts as its model runs them."""
        from attnres_core.engine.sweep import validated
        from attnres_core.models.networks.reference_states import Reference

        if self._reference is None or self._reference[0] != bundle.reference:
            ids = validated(model, PromptSet("reference", bundle.reference))
            self._reference = bundle.reference, Reference(model.network, ids)
        return self._reference[1]

    def _model(self, role: AnyRole, dtype: str) -> AttnResModel:
        """The model in a role, loaded once while bundles ask for it."""
        if self._loaded is None or self._loaded[0] != (role, dtype):
            import torch

            from attnres_core.models.loading import load_checkpoint

            self._loaded = self._reference = None  # their memory first
            spread = self.resources.spread
            if self.resources.device_class == "cuda":
                for device in spread or (self.device,):
                    free, _ = torch.cuda.mem_get_info(device)
                    check_fit(self.resources.need, free, dtype, f"{device} (what is free of it)")
            where = {"device_map": BALANCED} if spread else {"device": self.device}
            self._loaded = (role, dtype), load_checkpoint(self.checkpoints[role], dtype=dtype, **where)
        return self._loaded[1]
