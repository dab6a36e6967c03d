"""The shape of the house, as far as a program can see it."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("operator", "predictors", "gateway")
LONGEST_MODULE = 400
PUBLIC = ("moorage", "moorage.api", "moorage.api.v1alpha1", "moorage.render")


def test_the_folder_operator_is_no_package() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()


@pytest.mark.timeout(30)  # a new interpreter
def test_the_standard_librarys_operator_is_found_from_the_root() -> None:
    script = "import sys; sys.modules.pop('operator', None); import operator; print(operator.itemgetter(0)('ab'))"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("a\n", "")


@pytest.mark.timeout(120)  # reads every module
def test_imports_point_one_way() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_module_is_too_long_to_be_read() -> None:
    lengths = {
        path.relative_to(ROOT): len(path.read_text().splitlines())
        for source in SOURCES
        for path in (ROOT / source).rglob("*.py")
    }
    assert {path: length for path, length in lengths.items() if length > LONGEST_MODULE} == {}


@pytest.mark.parametrize("package", PUBLIC)
def test_the_public_surface_is_what_all_says(package: str) -> None:
    module = importlib.import_module(package)
    tree = ast.parse(Path(str(module.__file__)).read_text())
    imported, defined = set(), set()
    for_types = [node for branch in tree.body if isinstance(branch, ast.If) for node in branch.body]  # TYPE_CHECKING
    for node in (*tree.body, *for_types):
        if isinstance(node, ast.ImportFrom):
            imported |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined |= {target.id for target in targets if isinstance(target, ast.Name)}
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    public = {name for name in defined | (imported - used) if not name.startswith("_") or name == "__version__"}
    assert public <= set(module.__all__)
    assert set(module.__all__) <= imported | defined
    assert len(module.__all__) == len(set(module.__all__))
