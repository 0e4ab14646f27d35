"""The package as other people's repositories meet it: a wheel, an environment of its own, a folder with one test.

The environment sees what the wheel says that it requires, as installed here, what that requires in turn, and nothing
else: neither other libraries, nor this clone, nor its installation.
"""

import ast
import json
import os
import subprocess
import sys
import tomllib
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
OWN_CLAIM = """
from attnres_core import CURRENT, EARLY, ATTN, TRAINED, claim, drop

@claim(effect=drop(CURRENT, ATTN, EARLY).on(TRAINED))
def test_mine(effect):
    assert effect > -5
"""


def run(*command, cwd, check=True):
    """A process that knows nothing of this clone."""
    hidden = ("PYTHONPATH", "PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST")
    env = {name: value for name, value in os.environ.items() if name not in hidden} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel, built from the source distribution as an index's users would have it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nbuild is one of the [dev] dependencies: make install"
    assert len(list(folder.glob("*.tar.gz"))) == 1
    return next(folder.glob("*.whl"))


def required(lines, extras=frozenset(), found=None):
    """The distributions that requirements name, and those that these require in turn, by name."""
    found = {} if found is None else found
    for requirement in map(Requirement, lines):
        marker, key = requirement.marker, (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key not in found and (not marker or any(marker.evaluate({"extra": extra}) for extra in extras | {""})):
            found[key] = metadata.distribution(requirement.name)
            required(found[key].requires or (), requirement.extras, found)
    return found


@pytest.fixture(scope="session")
def python(tmp_path_factory, wheel):
    """The interpreter of an environment in which the wheel is installed, and no other trace of this project."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    interpreter = folder / "bin" / "python"
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(run(interpreter, "-c", query, cwd=folder).stdout.strip())
    (packed,) = metadata.distributions(path=[str(wheel)])
    for distribution in required(packed.requires).values():
        for name in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (own / name).exists():
                (own / name).symlink_to(distribution.locate_file(name))
    pip = [sys.executable, "-m", "pip", "--python", interpreter]
    run(*pip, "install", "--no-deps", "--no-index", "--quiet", wheel, cwd=folder)
    run(*pip, "check", cwd=folder)
    return interpreter


def third_party(file):
    """The top-level modules that a file imports anywhere but for type checking, the standard library's left out."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"attnres_core"}


def test_what_is_imported_is_declared_and_locked():
    """What another library happens to bring is declared all the same, and every bound allows the version we test."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {canonicalize_name(r.name): r for r in map(Requirement, project["dependencies"])}
    homes = metadata.packages_distributions()
    imported = set().union(*map(third_party, (ROOT / "attnres_core").rglob("*.py")))
    imported.remove("jaxtyping")  # `attnres_core.shapes` does without
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name not in ("dev", "docs")}
    declared |= {canonicalize_name(r.name): r for lines in extras.values() for r in map(Requirement, lines)}
    assert [m for m in imported if not declared.keys() & {canonicalize_name(home) for home in homes[m]}] == []

    locked = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    locked = {canonicalize_name(name): version for name, version in locked.items()}
    optional = [line for lines in project["optional-dependencies"].values() for line in lines]
    for requirement in [*declared.values(), *map(Requirement, optional)]:
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


def test_the_environment_holds_the_wheel_alone(python, tmp_path):
    code = (
        "import attnres_core as ac, importlib.metadata as m, importlib.util as u; "
        "print(ac.__file__, ac.reference('tiny-open-block'), ac.reference_prompts('recall')); "
        "print([d.name for d in m.distributions() if 'attnres' in d.name]); "
        "print(*map(u.find_spec, ('jaxtyping', 'pyarrow', 'mypy')))"
    )
    places, distributions, undeclared = run(python, "-c", code, cwd=tmp_path).stdout.splitlines()
    assert all(Path(place).is_relative_to(python.parent.parent) for place in places.split())
    assert distributions == "['attnres-core']"
    assert undeclared == "None None None"


def test_one_file_elsewhere_is_decided_with_its_own_lock_report_and_store(python, micro, tmp_path):
    (tmp_path / "test_mine.py").write_text(OWN_CLAIM)
    models = [f"--attnres-trained={micro / 'trained'}", f"--attnres-vanilla={micro / 'vanilla'}"]
    command = [python, "-m", "pytest", *models, f"--attnres-prompts={micro / 'prompts.jsonl'}"]

    explored = run(*command, cwd=tmp_path).stdout
    assert "1 exploratory: not registered: decided on the exploration split; --attnres-register" in explored
    record = json.loads((tmp_path / "reports" / "latest.json").read_text())
    assert [(c["verdict"], c["registration"], c["split"]) for c in record["claims"]] == [
        ("SUPPORTED", "exploratory", "exploration")
    ]
    assert (tmp_path / "reports" / "latest.html").stat().st_size > 10_000
    assert list((tmp_path / ".attnres" / "units").iterdir())

    registered = run(*command, "-n0", "--attnres-register", cwd=tmp_path).stdout
    assert f"{tmp_path / 'claims.lock'}, 1 claim; commit it and claims.ledger" in registered
    (tmp_path / "out").mkdir()
    run(*command, "-n2", "--attnres-report=mine.html", "--attnres-store=kept", "..", cwd=tmp_path / "out")
    record = json.loads((tmp_path / "out" / "mine.json").read_text())
    assert [(c["verdict"], c["registration"], c["split"]) for c in record["claims"]] == [
        ("SUPPORTED", "registered", "confirmation")
    ]
    assert list((tmp_path / "out" / "kept" / "units").iterdir())


def test_the_first_file_runs_as_it_stands(python, tmp_path):
    new = [python, "-m", "attnres_core", "new"]
    assert "now: pytest test_my_claim.py" in run(*new, "test_my_claim.py", cwd=tmp_path).stdout
    told = run(python, "-m", "pytest", cwd=tmp_path).stdout
    assert "2 claims: 2 SUPPORTED" in told
    assert "2 exploratory: not registered" in told

    before = (tmp_path / "test_my_claim.py").read_text()
    refused = run(*new, "test_my_claim.py", cwd=tmp_path, check=False)
    assert refused.returncode == 2
    assert "there is such a file already, and it is left as it is; give another name" in refused.stderr
    assert (tmp_path / "test_my_claim.py").read_text() == before
    misnamed = run(*new, "my_claim.py", cwd=tmp_path, check=False)
    assert "pytest collects files named test_*.py" in misnamed.stderr
    nowhere = run(*new, "none/test_my_claim.py", cwd=tmp_path, check=False)
    assert "cannot be written" in nowhere.stderr
