"""One model that is loaded already, in this process: units come back at once, and nothing is stored.

For `measure` in a notebook, and for searches whose prompts are made up as they go: no plan can know them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tqdm import tqdm

from attnres_core.engine.metrics import Answers
from attnres_core.engine.plain_path import plain_chunk
from attnres_core.engine.sweep import sweep_chunk, validated
from attnres_core.models.model import AttnResModel
from attnres_core.models.networks.fitting import fitting
from attnres_core.models.networks.reference_states import Reference
from attnres_core.planning.material import FITTING_PROMPTS, REFERENCE_PROMPTS
from attnres_core.planning.requests import ResolvedQuantity, scored_for
from attnres_core.prompts import Pairs, PromptSet
from attnres_core.quantities import ablations
from attnres_core.shapes import Unit


class InMemory:
    """Measures the interventions of some requests on any prompts.

    Args:
        model: what is ablated.
        asked: the requests, resolved on this model.
        reference: what some kinds of ablation take from, the first 64 of it; constants are fitted to the first 256.
        progress: whether a bar is shown while constants are fitted.

    Raises:
        ValueError: something is taken from reference prompts, and there are none; constants cannot be fitted.
    """

    def __init__(
        self,
        model: AttnResModel,
        asked: Iterable[ResolvedQuantity],
        reference: PromptSet | Sequence[Sequence[int]] | None,
        *,
        progress: bool = False,
    ) -> None:
        requests = list(asked)
        self.model = model
        self.interventions = list(dict.fromkeys(each for request in requests for each in request.interventions))
        self._metrics = scored_for(request.unit_field for request in requests)
        self._reference: Reference | None = None
        if taking := [request.what for request in requests if request.needs_reference]:
            if reference is None:
                raise ValueError(f"`{taking[0]}` takes something from reference prompts; pass reference=...")
            self._reference = self._taken_from(reference, progress=progress)

    def _taken_from(self, given: PromptSet | Sequence[Sequence[int]], *, progress: bool) -> Reference:
        """The reference prompts, with the constants that are fitted to them."""
        model, ids = self.model, validated(self.model, given)
        names = [prompt.document for prompt in given.prompts] if isinstance(given, PromptSet) else range(len(ids))
        fitted = [each for each in self.interventions if each.spec.fitted]
        steps = len(fitted) * len(ablations.FIT_STARTS) * ablations.FIT_STEPS
        with tqdm(
            total=steps, desc="fitting constants", unit="step", delay=1, leave=False, disable=not progress
        ) as bar:
            part = slice(FITTING_PROMPTS)
            constants = fitting(model.network, ids[part], names[part], lambda done: bar.update())
            for each in fitted:
                constants(each)
        return Reference(model.network, ids[:REFERENCE_PROMPTS], constants)

    def units(
        self,
        token_ids: Sequence[Sequence[int]],
        answers: Answers | None = None,
        pairs: Pairs | None = None,
        *,
        distances: bool = False,
    ) -> dict[str, Unit]:
        """The units of prompts that are swept together, by key; `distances`: how far reads lie from clean ones, too."""
        return sweep_chunk(
            *(self.model, token_ids, self.interventions),
            reference=self._reference,
            answers=answers,
            metrics=self._metrics,
            pairs=pairs,
            distances=distances,
        )

    def plain_units(self, token_ids: Sequence[Sequence[int]]) -> dict[str, Unit]:
        """The same the plain way, one full forward per ablation."""
        return plain_chunk(self.model, token_ids, self.interventions, self._reference, metrics=self._metrics)
