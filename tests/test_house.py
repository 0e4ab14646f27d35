"""The structure of the library: one direction of imports, modules of readable size, torch where it belongs."""

import ast
from pathlib import Path

import pytest

import attnres_core

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "attnres_core"
MODULES = sorted(PACKAGE.rglob("*.py"))
# From the top down; a module may import those of lower ranks, and of its own.
RANKS = [
    {"__main__", "commands", "plugin", "training"},
    {"housekeeping", "screening", "comparing", "card", "starting", "counterexample", "recipe"},
    {"records"},
    {"violations"},
    {"report"},
    {"terminal", "record"},
    {"entries", "contradictions"},
    {"mapping"},
    {"expected", "registering", "sizing"},
    {"suite"},
    {"redundancy", "examples", "searches"},
    {"outcomes"},
    {"registry"},
    {"picks"},
    {"run"},
    {"claims"},
    {"measurements", "judged"},
    {"judging", "estimands"},
    {"estimates"},
    {"power"},
    {"statistics", "looks"},
    {"testing"},
    {"plain"},
    {"sweep"},
    {"store"},
    {"place"},
    {"plan"},
    {"columns"},
    {"influence"},
    {"models"},
    {"prompts", "prompt_kinds", "references"},
    {"intervention"},
    {"ablations", "summaries"},
    {"quantities"},
    {"vocabulary", "shapes", "settings", "files", "__init__"},
]
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}
TORCH = {
    "models/adapter",
    "models/foreign_loading",
    "models/inkling2_network",
    "models/loading",
    "models/model",
    "models/network",
    "models/overrides",
    "models/precision",
    "models/qwen3",
    "models/reference",
    "models/routing",
    "plain",
    "screening",
    "sweep",
    "testing",
    "training/train",
}
PYTEST = {"plugin/__init__", "plugin/options", "plugin/reading", "plugin/teller"}


def name_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").as_posix()


def imports(file: Path, *, lazy: bool) -> set[str]:
    """The modules a file imports at its top, or also inside functions; not those for type checking alone."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    nodes = list(ast.walk(tree)) if lazy else tree.body
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_type_checkers_see_every_public_name():
    """They do not run `__getattr__`, so a name that they are not told of is `Any` to them."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    told = {
        alias.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert told == {name: f"attnres_core.{module}" for name, module in attnres_core._HOME.items()}


def part(module: str) -> str:
    """The entry of RANKS that a module belongs to."""
    return [*module.split("."), "__init__"][1] if module != "attnres_core" else "__init__"


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_imports_point_down_the_list(file):
    own = name_of(file).split("/")[0]
    for module in sorted(imports(file, lazy=True)):
        if not module.startswith("attnres_core.") or part(module) not in RANK:
            continue  # a name out of a module, such as attnres_core.__version__
        assert RANK[part(module)] >= RANK[own], f"{own} imports {module}, which stands above it"


def test_the_list_knows_every_module():
    assert {name_of(file).split("/")[0] for file in MODULES} == RANK.keys()


@pytest.mark.parametrize("file", [*MODULES, *sorted((ROOT / "tests").glob("*.py"))], ids=lambda file: file.stem)
def test_no_module_is_longer_than_an_idea(file):
    assert len(file.read_text().splitlines()) <= 400


def test_the_map_for_newcomers_names_every_module():
    told = (ROOT / "CONTRIBUTING.md").read_text()
    names = [file.relative_to(PACKAGE).as_posix() for file in MODULES if file.name != "__init__.py"]
    assert [name for name in names if f"`{name}`" not in told and f"`{name.split('/')[0]}/`" not in told] == []


def test_torch_is_imported_only_where_models_run():
    assert {name_of(file) for file in MODULES if "torch" in imports(file, lazy=False)} == TORCH


def test_only_the_plugin_knows_pytest():
    assert {name_of(file) for file in MODULES if "pytest" in imports(file, lazy=True)} == PYTEST


def test_claims_alone_live_in_hypotheses():
    for file in (ROOT / "hypotheses").glob("*.py"):
        found = {module.split(".")[0] for module in imports(file, lazy=True)}
        assert found <= {"attnres_core", "pytest"}, file
