"""`badge`: a run as the JSON file of a badge."""

from __future__ import annotations

import argparse
import json

from attnres_core.commands import telling

HELP = "a run as a badge, for a README"
DESCRIPTION = (
    "Write the JSON file that a shields.io endpoint badge reads: how many claims are supported, refuted and "
    "inconclusive. It is red where a control failed or a verdict changed, yellow where the run confirms nothing."
)

add_arguments = telling.add_arguments


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Write the badge."""
    from attnres_core.records.reading import read_record
    from attnres_core.report.badge import badge

    telling.tell(lambda: json.dumps(badge(read_record(arguments.record))) + "\n", arguments.out, root)
