"""Counts what the table of architecture.rst says, in folders of two versions of the package.

python doc/developers/count.py ../old/skdeepcluster ../new/skdeepcluster
"""

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
# what says the meaning of "auto": functions of both versions, and class variables of the old one
RESOLVERS = re.compile(r"_resolve_(init|augmentation)|_rate|_width|_epochs|_augmentation|defaults")
VARIABLES = re.compile(r"_shortest_epoch|_(vector|image)_(init|augmentation)|_small_image")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def docstring_lines(tree: ast.AST) -> set[int]:
    """Numbers of the lines that docstrings take."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and ast.get_docstring(node):
            text = node.body[0]
            lines |= set(range(text.lineno, (text.end_lineno or 0) + 1))
    return lines


def code_lines(source: str, tree: ast.AST) -> set[int]:
    """Numbers of the lines with code: no docstring, no comment, not blank."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return lines - docstring_lines(tree)


def longest_function(files: dict[Path, tuple[str, ast.Module]]) -> str:
    """The function with the most lines of code, constructors aside."""
    lengths = {}
    for path, (source, tree) in files.items():
        code = code_lines(source, tree)
        for node in ast.walk(tree):
            if isinstance(node, Function) and node.name != "__init__":
                lines = set(range(node.lineno, (node.end_lineno or 0) + 1))
                lengths[f"{path.stem}.{node.name}"] = len(lines & code)
    name = max(lengths, key=lambda name: lengths[name])
    return f"{lengths[name]} ({name})"


def estimators(trees: list[ast.Module]) -> Iterator[ast.ClassDef]:
    """The base class and the methods."""
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.ClassDef):
            bases = {getattr(base, "id", "") for base in node.bases}
            if node.name == "BaseDeepClusterer" or "BaseDeepClusterer" in bases:
                yield node


def fitted_attributes(trees: list[ast.Module]) -> set[str]:
    """Names that the estimators assign one by one outside of their constructors."""
    functions = [f for c in estimators(trees) for f in c.body if isinstance(f, Function)]
    return {
        node.attr
        for function in functions
        if function.name != "__init__"
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and getattr(node.value, "id", "") == "self"
        and node.attr != "__dict__"
    }


def parameter_lines(trees: list[ast.Module]) -> tuple[int, int]:
    """Lines about parameters in the docstrings of the estimators, and those about shared ones."""
    found: list[tuple[str, int]] = []
    for estimator in estimators(trees):
        text = ast.get_docstring(estimator) or ""
        section = re.search(r"Parameters\n-+\n(.*?)\n\n\w+\n--", text, re.DOTALL)
        entries = re.split(r"\n(?=\S)", section[1]) if section else []
        found += [(entry.split(" :")[0], len(entry.splitlines())) for entry in entries]
    times = Counter(name for name, _ in found)
    return sum(n for _, n in found), sum(n for name, n in found if times[name] > 1)


def counts(package: Path) -> dict[str, object]:
    """All numbers of one version."""
    texts = {path: path.read_text() for path in sorted(package.rglob("*.py"))}
    files = {path: (text, ast.parse(text)) for path, text in texts.items()}
    trees = [tree for _, tree in files.values()]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    functions = [n.name for n in nodes if isinstance(n, Function) and RESOLVERS.fullmatch(n.name)]
    stored = [n.id for n in nodes if isinstance(n, ast.Name) and VARIABLES.fullmatch(n.id)]
    reads = [n.attr for n in nodes if isinstance(n, ast.Attribute) and n.attr in functions + stored]
    every, shared = parameter_lines(trees)
    fitted = fitted_attributes(trees)
    return {
        "lines of code": sum(len(code_lines(*file)) for file in files.values()),
        "longest function": longest_function(files),
        'functions that say what "auto" means': len(functions),
        "class variables for the same": len(set(stored)),
        "places that read either": len(reads),
        "fitted attributes assigned one by one": len(fitted),
        "lines about parameters in the docstrings": every,
        "of these about shared parameters": shared,
    }


def main(folders: list[str]) -> None:
    """Print a table with a column for each folder."""
    columns = [counts(Path(folder)) for folder in folders]
    for name in columns[0]:
        cells = "".join(f"{column[name]!s:>42}" for column in columns)
        sys.stdout.write(f"{name:<42}{cells}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
