"""Imports go one way, as docs/architecture.md says; what is long is divided."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = "llmbench_locust"


def modules():
    """Name in the package → path; the package itself is "__init__"."""
    paths = sorted((ROOT / PACKAGE).rglob("*.py"))
    return {
        ".".join(path.relative_to(ROOT / PACKAGE).with_suffix("").parts): path for path in paths
    }


def imported(path, known):
    """Modules of the package that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] != PACKAGE:
                continue
            words = name.split(".")[1:]
            while words and ".".join(words) not in known:
                if f"{'.'.join(words)}.__init__" in known:
                    words.append("__init__")
                    break
                words.pop()
            yield ".".join(words) or "__init__"


def test_a_part_imports_only_from_the_lines_above_its_own():
    text = (ROOT / "docs" / "architecture.md").read_text()
    lines = re.search(r"```layers\n(.*?)```", text, re.S)[1].splitlines()
    layer = {part: n for n, line in enumerate(lines) for part in line.split()}
    known = modules()
    parts = {name.split(".")[0] for name in known}
    assert parts == set(layer)
    wrong = []
    for name, path in known.items():
        part = name.split(".")[0]
        for other in imported(path, known):
            below = other.split(".")[0]
            if below != part and layer[below] >= layer[part]:
                wrong.append(f"{name} imports {other}")
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle():
    known = modules()
    graph = {name: set(imported(path, known)) - {name} for name, path in known.items()}
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_nothing_but_the_seam_touches_locusts_private_names():
    """Of what Locust does not document; Locust's pages and answers are web/plugin.py's."""
    private = re.compile(
        r"\._handlers\b(?<!self\._handlers)|_option_string_actions|runner\.clients"
    )
    found = [
        name
        for name, path in modules().items()
        if name != "locust_seam" and private.search(path.read_text())
    ]
    assert found == []


def test_modules_and_functions_are_short_and_typed():
    """The limits of docs/contributing.md. `Any` is for Locust's seam and for JSON that comes in."""
    wrong, uses_of_any = [], 0
    for name, path in modules().items():
        text = path.read_text()
        if text.count("\n") > 350:
            wrong.append(f"{name} has {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Name) and node.id == "Any":
                uses_of_any += 1
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                parameters = [a.arg for a in given if a.arg not in ("self", "cls")]
                if lines > 50:
                    wrong.append(f"{name}.{node.name} has {lines} lines")
                if len(parameters) > 6:
                    wrong.append(f"{name}.{node.name} has {len(parameters)} parameters")
    assert wrong == []
    assert uses_of_any <= 60
