"""A plan carried out by many workers: slots, locks, the barrier. Only a slot's holder imports torch.

Every worker plans the same bundles. A worker that gets a measuring slot (a file lock) works through the bundles that
nobody else holds; the others wait. The barrier is "every bundle has a result or a failure of this run", never
"every worker arrived": a killed worker's locks are freed by the system, and another worker goes on.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from attnres_core.engine.resources import (
    BATCH_SIZES,
    Place,
    check_fit,
    keep_freed_memory,
    same_kernels_every_time,
)
from attnres_core.engine.store import Store, StoreError, atomic
from attnres_core.models.checkpoints.checkpoint import Checkpoint
from attnres_core.models.checkpoints.placement import BALANCED
from attnres_core.planning.bundles import Bundle
from attnres_core.prompts import Prompt, PromptSet
from attnres_core.quantities.intervention import SHAM
from attnres_core.quantities.vocabulary import AnyRole

if TYPE_CHECKING:
    from attnres_core.models.model import AttnResModel
    from attnres_core.models.networks.reference_states import Reference

ATTEMPTS = 2
"""A bundle whose worker dies this often becomes a named failure: it is deadly."""
DEADLY = 2
"""Once so many bundles of a run are deadly, the models of such bundles are left alone: xdist replaces only so many
workers, and other claims need them."""
POLL_SECONDS = 0.1


class SmallerBatchWarning(UserWarning):
    """A device ran out of memory; measuring goes on with smaller batches."""


class Barrier:
    """What the workers of one run tell each other through a folder."""

    def __init__(self, store: Store, run: str) -> None:
        self.store = store
        self.folder = store.run_folder(run)
        with store.writing():
            for name in ("failed", "attempts", "done", "deadly"):
                (self.folder / name).mkdir(exist_ok=True)

    def announce(self, missing: int, reused: int, lines: Sequence[str]) -> None:
        """Tell the controller how many bundles this run measures and finds; the first worker's word stands."""
        file = self.folder / "plan.json"
        if not file.exists():
            with self.store.writing(), atomic(file) as temporary:
                temporary.write_text(json.dumps({"bundles": missing, "reused": reused, "lines": list(lines)}))

    def failure(self, bundle: Bundle) -> str | None:
        """Why this bundle failed in this run."""
        try:
            return (self.folder / "failed" / bundle.id).read_text()
        except FileNotFoundError:
            return None

    def fail(self, bundle: Bundle, why: str) -> None:
        """Record that a bundle failed."""
        with self.store.writing(), atomic(self.folder / "failed" / bundle.id) as temporary:
            temporary.write_text(why)

    def deadly(self, bundle: Bundle) -> bool:
        """Whether this bundle's model is to be left alone: see DEADLY."""
        found = [file.name for file in (self.folder / "deadly").iterdir()]
        return len(found) >= DEADLY and any(name.startswith(bundle.model) for name in found)

    def beware(self, bundle: Bundle) -> None:
        """Remember that a bundle is deadly."""
        with self.store.writing():
            (self.folder / "deadly" / f"{bundle.model}-{bundle.id}").touch()

    def attempt(self, bundle: Bundle) -> int:
        """Count an attempt; returns how many there were before."""
        file = self.folder / "attempts" / bundle.id
        before = int(file.read_text()) if file.exists() else 0
        with self.store.writing(), atomic(file) as temporary:
            temporary.write_text(str(before + 1))
        return before

    def finish(self, bundle: Bundle) -> None:
        """Count a bundle this run measured."""
        with self.store.writing():
            (self.folder / "done" / bundle.id).touch()

    @property
    def measured(self) -> int:
        """Bundles measured by this run."""
        return len(list((self.folder / "done").iterdir()))


class Crew:
    """This process's part in a run's measuring: a slot, once it has one, is kept until the crew is dismissed."""

    def __init__(self, checkpoints: Mapping[AnyRole, Checkpoint], barrier: Barrier, place: Place) -> None:
        self.checkpoints, self.barrier, self.place = checkpoints, barrier, place
        self._stack = ExitStack()
        self._bench: _Workbench | None = None

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def carry_out(self, bundles: Sequence[Bundle]) -> dict[Bundle, str]:
        """Measure what this process gets hold of until every bundle has a result or a failure; returns the failures."""
        store = self.barrier.store
        while open_bundles := [b for b in bundles if store.missing(b) and self.barrier.failure(b) is None]:
            bench = self._slot()
            if bench is None or not sum(_measure_if_free(bundle, self.barrier, bench) for bundle in open_bundles):
                time.sleep(POLL_SECONDS)  # others are at it
        failures = {bundle: self.barrier.failure(bundle) for bundle in bundles}
        return {bundle: why for bundle, why in failures.items() if why is not None}

    def _slot(self) -> _Workbench | None:
        if self._bench is None:
            for index, device in enumerate(self.place.slots):
                with ExitStack() as asked:
                    if asked.enter_context(self.barrier.store.held(f"slot-{self.place.device_class}-{index}")):
                        self._stack.push(asked.pop_all())
                        self._bench = _Workbench(self.checkpoints, self.place, device)
                        break
        return self._bench


def _measure_if_free(bundle: Bundle, barrier: Barrier, bench: _Workbench) -> bool:
    """Measure what is missing of a bundle unless another worker is at its chunk; returns whether something changed.

    The lock is the chunk's: bundles of other runs overlap with this one, each with ablations of its own.
    """
    with barrier.store.held(f"chunk-{bundle.model[:32]}-{bundle.chunk[:32]}") as mine:
        missing = barrier.store.missing(bundle)
        if not mine or not missing or barrier.failure(bundle) is not None:
            return False
        if barrier.deadly(bundle):
            barrier.fail(bundle, f"not measured: {bundle}, since measuring that model killed its process before")
            return True
        attempts = barrier.attempt(bundle)
        if attempts >= ATTEMPTS:
            barrier.beware(bundle)
            barrier.fail(bundle, f"the process measuring {bundle} died {attempts} times; out of memory?")
            return True
        try:
            bench.measure(bundle, missing, barrier.store)
        except StoreError:  # no bundle's fault: the run ends with it
            raise
        except Exception as error:  # whatever it is, it is this bundle's failure and not the run's
            if attempts + 1 == ATTEMPTS or isinstance(error, ValueError):  # a ValueError is the same every time
                barrier.fail(bundle, f"measuring {bundle} failed: {type(error).__name__}: {error}")
        else:
            barrier.finish(bundle)
        return True


class _Workbench:
    """A slot's device with the model it measures now; bundles come role by role, so models change seldom."""

    def __init__(self, checkpoints: Mapping[AnyRole, Checkpoint], place: Place, device: str) -> None:
        self.checkpoints, self.place, self.device = checkpoints, place, device
        self.batch_tokens = place.batch_tokens
        keep_freed_memory()
        same_kernels_every_time()
        self._loaded: tuple[tuple[AnyRole, str], AttnResModel] | None = None
        self._reference: tuple[tuple[Prompt, ...], Reference] | None = None

    def measure(self, bundle: Bundle, missing: frozenset[str], store: Store) -> None:
        """Measure a bundle's missing units into the store.

        Raises:
            ValueError: the model cannot be loaded, does not fit the device, or cannot read the prompts.
        """
        import torch

        from attnres_core.engine.plain_path import plain_chunk
        from attnres_core.engine.sweep import sweep_chunk, validated

        torch.set_num_threads(self.place.threads)
        model = self._model(bundle.role, bundle.dtype)
        wanted = [intervention for intervention in (*bundle.interventions, SHAM) if intervention.key in missing]
        part = PromptSet("chunk", bundle.prompts)
        prompts, answers = validated(model, part), part.answer_ids(model.checkpoint.tokenizer_file)
        reference = self._taken_from(bundle, model) if any(i.needs_reference for i in wanted) else None
        while True:
            try:
                if bundle.plain:
                    units = plain_chunk(model, prompts, wanted, reference, answers)
                else:
                    units = sweep_chunk(model, prompts, wanted, self.batch_tokens, reference, answers)
                break
            except torch.OutOfMemoryError:
                if bundle.plain or self.batch_tokens <= BATCH_SIZES[-1]:
                    raise
            self.batch_tokens //= 2  # (after the handler: its traceback holds the batch's tensors)
            torch.cuda.empty_cache()
            message = f"{self.device} is out of memory: going on with batches of {self.batch_tokens} tokens"
            warnings.warn(message, SmallerBatchWarning, stacklevel=2)
        store.add_units(bundle.model, bundle.chunk, {key: units[key] for key in missing}, bundle.about)

    def _taken_from(self, bundle: Bundle, model: AttnResModel) -> Reference:
        """The bundle's reference prompts as its model runs them."""
        from attnres_core.engine.sweep import validated
        from attnres_core.models.networks.reference_states import Reference

        if self._reference is None or self._reference[0] != bundle.reference:
            ids = validated(model, PromptSet("reference", bundle.reference))
            self._reference = bundle.reference, Reference(model.network, ids)
        return self._reference[1]

    def _model(self, role: AnyRole, dtype: str) -> AttnResModel:
        if self._loaded is None or self._loaded[0] != (role, dtype):
            import torch

            from attnres_core.models.loading import load_checkpoint

            self._loaded = self._reference = None  # their memory first
            spread = self.place.spread
            if self.place.device_class == "cuda":
                for device in spread or (self.device,):
                    free, _ = torch.cuda.mem_get_info(device)
                    check_fit(self.place.need, free, dtype, f"{device} (what is free of it)")
            where = {"device_map": BALANCED} if spread else {"device": self.device}
            self._loaded = (role, dtype), load_checkpoint(self.checkpoints[role], dtype=dtype, **where)
        return self._loaded[1]
