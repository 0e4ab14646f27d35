"""The page of options, docs/options.md: pytest's from their table, each command's from its parser.

python docs/site/options.py > docs/options.md
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from attnres_core.__main__ import parser
from attnres_core.plugin.options import OPTIONS

HEAD = """# Options

`python docs/site/options.py > docs/options.md` writes this page from the code. `pytest --help` and
`python -m attnres_core COMMAND --help` print the same.

## pytest

Every option has a twin in the ini file: `--attnres-n-prompts 64` is `attnres_n_prompts = 64` in `pytest.ini` or in
`pyproject.toml` under `[tool.pytest.ini_options]`; a flag takes `yes` or `no`. The command line wins. A path on the
command line is seen from the folder that you are in, a path in an ini file from that file's folder. Reports and
measured columns go to the folder of the ini file, or without one to the folder of the command, where these options do
not say otherwise.

[Checkpoints and prompts](checkpoints.md) says more about models, prompts, memory and precision,
[writing claims](writing-claims.md#register-then-confirm) about registration,
[how a claim is decided](deciding.md#deciding-early) about `--attnres-sequential`.
"""
COMMANDS = """
## Commands

`python -m attnres_core COMMAND`. [Exploring](exploring.md) shows most of them at work.
"""


def cell(text: object) -> str:
    """A text as a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def prose(text: object) -> str:
    """A sentence of the code's, the options that it names as code: the site would join their hyphens."""
    return re.sub(r"(?<![\w`-])--\w[\w-]*", r"`\g<0>`", cell(text))


def table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(map(cell, row))} |" for row in (titles, ["---"] * len(titles), *rows)]


def option_rows() -> list[tuple[str, str, str]]:
    """Each of pytest's options: its name, what it does, its default."""
    return [
        (
            f"`--attnres-{option.name}`",
            prose(option.help),
            f"`{option.default}`" if option.default else "no" if option.flag else "",
        )
        for option in OPTIONS
    ]


def written(action: argparse.Action) -> str:
    """An argument as it is typed: `-o, --out FILE`."""
    chosen = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    value = action.metavar if isinstance(action.metavar, str) else chosen
    value += " ..." if action.nargs in ("*", "+") else ""
    names = ", ".join(action.option_strings)
    return f"`{names}`" if action.nargs == 0 else f"`{names} {value}`" if names else f"`{value}`"


def told(action: argparse.Action, command: argparse.ArgumentParser) -> str:
    """What an argument is; its default where its help says nothing."""
    if action.help:
        return action.help % {**vars(action), "prog": command.prog}
    return "" if action.default is None else f"default: {action.default}"


def section(name: str, command: argparse.ArgumentParser) -> list[str]:
    """A command's description and arguments, and those of the commands below it."""
    lines = ["", f"### {name}", "", f"`python -m attnres_core {name}`: {prose(command.description)}"]
    rows, below = [], []
    for action in command._actions:  # (argparse offers no other list of them)
        if isinstance(action, argparse._SubParsersAction):
            below += [line for word, own in action.choices.items() for line in section(f"{name} {word}", own)]
        elif not isinstance(action, argparse._HelpAction):
            rows.append((written(action), prose(told(action, command))))
    return [*lines, "", *table(("argument", "what it is"), rows), *below] if rows else [*lines, *below]


def page() -> str:
    """The whole page."""
    (commands,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    lines = [HEAD, *table(("option", "what it does", "default"), option_rows()), COMMANDS.rstrip()]
    lines += [line for name, command in commands.choices.items() for line in section(name, command)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
