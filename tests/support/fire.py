"""What tests do that kill a run: its command, what it wrote, what its store holds."""

import json
import sys
from collections import Counter

from safetensors.numpy import load_file

LOGGING = """
    import json
    from pathlib import Path
    from attnres_core.engine.store import Store

    real = Store.add_units
    def add_units(self, model, chunk, units, about=""):
        real(self, model, chunk, units, about)
        with (Path(__file__).parent / "written.log").open("a") as log:
            log.writelines(json.dumps([model[:32], chunk[:32], key]) + "\\n" for key in units)
    Store.add_units = add_units
"""
"""A conftest.py that logs each unit once it is written: files named for their content cannot tell twice from once."""


def written(pytester):
    """How often each unit of each model and chunk was measured and written, by every process of the test."""
    log = pytester.path / "written.log"
    return Counter(tuple(json.loads(line)) for line in log.read_text().splitlines()) if log.is_file() else Counter()


def held(root):
    """The units in a store, every file read in full."""
    found = set()
    for file in (root / "units").glob("*/*/*.safetensors"):
        keys = {name.rsplit("|", 1)[0] for name in load_file(file)}
        found |= {(file.parent.parent.name, file.parent.name, key) for key in keys}
    return found


def command(micro, *arguments):
    given = [f"--attnres-{name}={micro / name}" for name in ("trained", "vanilla")]
    given += [f"--attnres-prompts={micro / 'prompts.jsonl'}", "-p", "no:cacheprovider", "-q"]
    return [sys.executable, "-m", "pytest", "test_claims.py", *given, *arguments]
