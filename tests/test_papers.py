"""The index of each docs/papers/<key>.md names symbols and tests that exist."""

import ast
import functools
import pathlib
import re

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
PAPERS = sorted((REPOSITORY / "docs" / "papers").glob("*.md"))


@functools.cache
def names_in(path: pathlib.Path) -> set[str]:
    """What a module defines or imports at its top."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def exists(symbol: str) -> bool:
    """Whether a dotted name is a module of the project, or a name at the top of one."""
    parts = symbol.split(".")
    for cut in range(len(parts), 0, -1):
        base = REPOSITORY.joinpath(*parts[:cut])
        module = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        if module.exists():
            return cut == len(parts) or parts[cut] in names_in(module)
    return False


def rows(path: pathlib.Path) -> list[list[str]]:
    """The cells of the table below "## Index"."""
    text = path.read_text(encoding="utf-8").split("## Index")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_index(path):
    assert rows(path)
    for cells in rows(path):
        for name in re.findall(r"`([^`]+)`", cells[-2]):
            assert exists(name) or (REPOSITORY / name).exists(), f"no {name}"
        for name in re.findall(r"`(tests/[^`]+)`", cells[-1]):
            file, _, test = name.partition("::")
            assert test in names_in(REPOSITORY / file), f"no test {name}"


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_deviations_stand_in_the_code(path):
    """Every numbered deviation has its `# Deviation n:` comment somewhere."""
    text = path.read_text(encoding="utf-8").split("## Deviations")[1].split("\n## ")[0]
    numbers = set(re.findall(r"^(\d+)\. ", text, re.MULTILINE))
    code = "".join(
        file.read_text(encoding="utf-8")
        for package in ("imgtext_tf", "experiments")
        for file in (REPOSITORY / package).rglob("*.py")
    )
    assert numbers and numbers <= set(re.findall(r"# Deviation (\d+):", code))
