"""The package as other people's repositories meet it: a wheel, an environment of its own, a folder with one test.

The environment sees the libraries that this one has, without those for development, and neither this clone nor its
installation.
"""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HIDDEN = ("jaxtyping", "beartype", "pyarrow", "hatchling", "mypy", "ruff")
"""What begins like this is not there for people who install the wheel."""
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
    """The built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stderr}\nhatchling is one of the [dev] dependencies: make install"
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def python(tmp_path_factory, wheel):
    """The interpreter of an environment in which the wheel is installed, and no other trace of this project."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    interpreter = folder / "bin" / "python"
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(run(interpreter, "-c", query, cwd=folder).stdout.strip())
    for shared in [Path(place) for place in sys.path if place.endswith("-packages")]:
        for entry in sorted(shared.iterdir()):
            trace = "attnres" in entry.name or entry.name.startswith(HIDDEN)
            if not trace and not (own / entry.name).exists():
                (own / entry.name).symlink_to(entry)
    with_pip = [sys.executable, "-m", "pip", "--python", interpreter, "install"]
    run(*with_pip, "--no-deps", "--no-index", "--quiet", wheel, cwd=folder)
    return interpreter


def test_the_environment_holds_the_wheel_alone(python, tmp_path):
    code = (
        "import attnres_core as ac, importlib.metadata as m, importlib.util as u; "
        "print(ac.__file__, ac.reference('tiny-open-block'), ac.reference_prompts('recall')); "
        "print([d.name for d in m.distributions() if 'attnres' in d.name], u.find_spec('jaxtyping'))"
    )
    places, distributions = run(python, "-c", code, cwd=tmp_path).stdout.splitlines()
    assert all(Path(place).is_relative_to(python.parent.parent) for place in places.split())
    assert distributions == "['attnres-core'] None"


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
    assert f"{tmp_path / 'claims.lock'}, 1 claims; commit it" in registered
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
