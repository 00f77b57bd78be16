"""The README's table "capability -> where", made from the tests' own marks: `python -m tests.capabilities`."""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
START, END = "<!-- capabilities -->", "<!-- /capabilities -->"


def marks(folder: Path) -> dict[str, list[str]]:
    """Capability id -> the tests that carry it, as path::name, sorted."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.rglob("test_*.py")):
        for name, identity in _marked(ast.parse(path.read_text())):
            found[identity].append(f"{path.relative_to(folder.parent)}::{name}")
    return dict(sorted(found.items(), key=lambda item: _order(item[0])))


def table(found: dict[str, list[str]]) -> str:
    """A Markdown table with one row a capability."""
    rows = [f"| {identity} | {_shown(tests)} |" for identity, tests in found.items()]
    return "\n".join([START, "| capability | proved by |", "|---|---|", *rows, END])


def renewed(readme: str, found: dict[str, list[str]]) -> str:
    """The README with its table brought up to date."""
    before, _, rest = readme.partition(START)
    return before + table(found) + rest.partition(END)[2]


def _shown(tests: list[str]) -> str:
    path, _, name = tests[0].partition("::")
    more = f" and {len(tests) - 1} more" if len(tests) > 1 else ""
    return f"[{name.removeprefix('test_').replace('_', ' ')}]({path}){more}"


def _marked(tree: ast.Module) -> Iterator[tuple[str, str]]:
    everywhere = [identity for node in tree.body if _is_pytestmark(node) for identity in _ids(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if not node.name.lower().startswith("test"):
                continue
            own = [identity for decorator in node.decorator_list for identity in _ids(decorator)]
            for identity in dict.fromkeys([*own, *(everywhere if node in tree.body else [])]):
                yield node.name, identity


def _is_pytestmark(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets
    )


def _ids(node: ast.AST) -> Iterator[str]:
    """The constants of every `pytest.mark.capability(...)` call below `node`."""
    for call in ast.walk(node):
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr == "capability"
        ):
            yield from (str(arg.value) for arg in call.args if isinstance(arg, ast.Constant))


def _order(identity: str) -> tuple[str, int]:
    match = re.fullmatch(r"([A-Z]+)-?(\d+)", identity)
    return (match[1], int(match[2])) if match else (identity, 0)


if __name__ == "__main__":
    path = REPOSITORY / "README.md"
    path.write_text(renewed(path.read_text(), marks(REPOSITORY / "tests")))
    sys.exit(0)
