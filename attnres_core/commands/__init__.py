"""The commands of `python -m attnres_core`: a module each, of the command's name, with its arguments and its work.

`command`, `checkpoint`, `telling`, `for_pytest` and `prompt_making_options` are none: several commands share them.
`recipe_...` are the actions of `recipe`, `prompt_...` those of `prompts`.
"""

from __future__ import annotations

from attnres_core.commands import (
    badge,
    card,
    compare,
    counterexample,
    fetch,
    map,
    measure,
    new,
    plan,
    prompts,
    recipe,
    store,
    train,
)
from attnres_core.commands.command import Command

COMMANDS: dict[str, Command] = {
    "train": train,
    "fetch": fetch,
    "prompts": prompts,
    "plan": plan,
    "new": new,
    "map": map,
    "measure": measure,
    "store": store,
    "compare": compare,
    "card": card,
    "badge": badge,
    "recipe": recipe,
    "counterexample": counterexample,
}
"""By name, in the order in which help lists them."""
