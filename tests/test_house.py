"""The structure of the library that import-linter does not see: public names, and what claims may import."""

import ast
from pathlib import Path

import attnres_core

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "attnres_core"


def imports(file: Path) -> set[str]:
    """The modules a file imports, inside functions too; not those for type checking alone."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_type_checkers_see_every_public_name():
    """They do not run `__getattr__`, so a name that they are not told of is `Any` to them."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    found = [(alias, node.module) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    told = {alias.asname: module for alias, module in found if alias.asname}
    assert told == {name: f"attnres_core.{module}" for name, module in attnres_core._HOME.items()} | dict.fromkeys(
        attnres_core._MODULES, "attnres_core"
    )
    choices = {alias.name: f"{module}.{alias.name}" for alias, module in found if not alias.asname}
    members = [each for node in block.body for each in ast.walk(node) if isinstance(each, ast.Attribute)]
    told = {member.attr: choices[ast.unparse(member.value)] for member in members}
    assert told == {name: f"attnres_core.{choice}" for name, choice in attnres_core._MEMBER_OF.items()}


def test_claims_alone_live_in_hypotheses():
    for file in (ROOT / "hypotheses").glob("*.py"):
        found = {module.split(".")[0] for module in imports(file)}
        assert found <= {"attnres_core", "pytest"}, file
