"""The attempts that a bundle has, and the words for one that has failed for good: the same for every executor."""

from __future__ import annotations

from attnres_core.engine.run_folder import RunFolder
from attnres_core.engine.store import Store
from attnres_core.planning.bundles import Bundle

ATTEMPTS = 2
"""A bundle whose process dies this often becomes a named failure: it is deadly."""


def barred(folder: RunFolder, bundle: Bundle) -> bool:
    """Whether a bundle is not to be measured in this run: it has failed for good, or its model kills processes."""
    if folder.failure(bundle) is None and folder.deadly(bundle):
        folder.fail(bundle, f"not measured: {bundle}, since measuring that model killed its process before")
    for fit in bundle.fits:
        if folder.failure(bundle) is None and (why := folder.failure(fit)) is not None:
            folder.fail(bundle, why)
    return folder.failure(bundle) is not None


def waits(store: Store, folder: RunFolder, bundle: Bundle) -> bool:
    """Whether a bundle cannot be measured yet: constants that it needs are not fitted, and may still be."""
    return store.fits_missing(bundle) and all(folder.failure(fit) is None for fit in bundle.fits)


def killed(folder: RunFolder, bundle: Bundle, attempts: int, last_words: str = "") -> None:
    """A bundle's process died this often: it fails for good, with what the process wrote last."""
    folder.beware(bundle)
    folder.fail(bundle, f"the process measuring {bundle} died {attempts} times; out of memory?{last_words}")


def went_wrong(folder: RunFolder, bundle: Bundle, error: Exception, attempts: int, last_words: str = "") -> None:
    """An attempt raised an error: the bundle fails for good if it was the last, or if another would raise the same.

    Args:
        folder: the run's.
        bundle: what was measured.
        error: what was raised.
        attempts: how many attempts there were before.
        last_words: what the process wrote, for the failure.
    """
    if attempts + 1 >= ATTEMPTS or isinstance(error, ValueError):  # a ValueError is the same every time
        folder.fail(bundle, f"measuring {bundle} failed: {type(error).__name__}: {error}{last_words}")
