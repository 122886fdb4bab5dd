"""The import graph of a checkout in figures: rooms, arrows, circles, lines and the lengths of functions.

    python benchmarks/import_graph.py [--tree . --tree ../before] [--json FILE]

A room is a direct child, package or module, of semise_sdk, semise_training or semise_export. An arrow is a pair of
rooms of which the first imports the second. A circle is a set of two or more rooms, or files, that all import each
other along some way. An arrow runs up when the layers contracts in the checkout's own pyproject.toml forbid it. Imports
inside functions count, and so do those under ``TYPE_CHECKING``, as import-linter counts them. ``from a.b import c``
imports the module ``a.b.c`` where there is one, else ``a.b``. The length of a function is that of its body without the
docstring.
"""

import argparse
import ast
import json
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

PLACES = {"semise_sdk": ".", "semise_training": "training", "semise_export": "export"}

Arrows = set[tuple[str, str]]
Report = dict[str, object]


def main() -> None:
    """Measures each tree, prints the table and writes the JSON."""
    options = parse_options()
    reports = {str(tree): measure(tree) for tree in options.tree or [Path()]}
    Console().print(table_of(reports))
    if options.json:
        options.json.write_text(json.dumps(reports, indent=2) + "\n")


def measure(tree: Path) -> Report:
    """Returns every figure of one checkout; raises FileNotFoundError where ``tree`` holds none of the packages."""
    files = modules_of(tree)
    if not files:
        raise FileNotFoundError(f"expected a checkout with one of {', '.join(PLACES)}, found none in {tree}")
    parsed = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in files.items()}
    imports = {(module, target) for module in files for target in imported(parsed[module], files)}
    arrows = between_rooms(imports)
    lengths = sorted(
        (length, f"{files[module].relative_to(tree)}:{name}")
        for module in files
        for name, length in function_lengths(parsed[module])
    )
    rooms = {room for module in files if (room := room_of(module))}
    flat = {room for room in rooms & set(files) if files[room].name != "__init__.py"}
    lines = {package: lines_of(files, package) for package in PLACES}
    return {
        "modules at the root of semise_sdk": inside_sdk(flat),
        "rooms": len(rooms),
        "rooms of semise_sdk": inside_sdk(rooms),
        "arrows between rooms": len(arrows),
        "arrows inside semise_sdk": inside_sdk(target for room, target in arrows if inside_sdk([room])),
        "arrows that run up": sorted(f"{a} -> {b}" for a, b in running_up(arrows, layers_of(tree))),
        "circles of rooms": circles(arrows),
        "circles of files": circles(imports),
        **{f"lines of {package}": count for package, count in lines.items()},
        "lines of source": sum(lines.values()),
        "functions": len(lengths),
        "95th percentile of function length": lengths[math.ceil(0.95 * len(lengths)) - 1][0] if lengths else 0,
        "longest function": f"{lengths[-1][0]} lines, {lengths[-1][1]}" if lengths else "",
    }


def modules_of(tree: Path) -> dict[str, Path]:
    """Returns the file of each module of the three packages."""
    found = {}
    for package, place in PLACES.items():
        for path in sorted((tree / place / package).rglob("*.py")):
            parts = path.relative_to(tree / place).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imported(parsed: ast.Module, modules: Mapping[str, Path]) -> Iterator[str]:
    """Yields each of ``modules`` that a file imports; relative imports, which ruff refuses, are not followed."""
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in modules else node.module


def room_of(module: str) -> str | None:
    """Returns the room that a module is in; None for the root of a package, which is no room."""
    parts = module.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 else None


def between_rooms(imports: Arrows) -> Arrows:
    """Returns the arrows between different rooms."""
    rooms = {(room_of(module), room_of(target)) for module, target in imports}
    return {(a, b) for a, b in rooms if a is not None and b is not None and a != b}


def inside_sdk(rooms: Iterable[str]) -> int:
    """Returns how many of the rooms are in semise_sdk."""
    return sum(room.startswith("semise_sdk.") for room in rooms)


def circles(arrows: Arrows) -> list[list[str]]:
    """Returns the strongly connected sets of two or more nodes, the largest first."""
    targets: dict[str, set[str]] = {}
    for source, target in arrows:
        targets.setdefault(source, set()).add(target)
    reach = {node: reachable(node, targets) for node in targets}
    found = {frozenset(other for other in reach[node] if node in reach.get(other, ())) for node in targets}
    return sorted((sorted(circle) for circle in found if len(circle) > 1), key=lambda circle: (-len(circle), circle))


def reachable(start: str, targets: Mapping[str, set[str]]) -> set[str]:
    """Returns the nodes that one or more arrows lead to from ``start``."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = targets.get(waiting.pop(), set()) - found
        found |= new
        waiting.extend(new)
    return found


def layers_of(tree: Path) -> list[dict[str, tuple[int, str]]]:
    """Returns for each layers contract the layer of each room, counted from the top, and the layer's own text."""
    content = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = content["tool"]["importlinter"]["contracts"]
    return [
        {
            f"{container}.{name.strip(' ()')}": (place, layer)
            for place, layer in enumerate(contract["layers"])
            for name in layer.replace(":", "|").split("|")
        }
        for contract in contracts
        if contract["type"] == "layers"
        for container in contract["containers"]
    ]


def running_up(arrows: Arrows, contracts: Iterable[Mapping[str, tuple[int, str]]]) -> Arrows:
    """Returns the arrows to a higher layer, and those between two rooms of a layer that a ``|`` keeps apart."""
    up = set()
    for contract in contracts:
        for source, target in arrows:
            if source in contract and target in contract:
                (from_place, layer), (to_place, _) = contract[source], contract[target]
                if to_place < from_place or (to_place == from_place and "|" in layer):
                    up.add((source, target))
    return up


def lines_of(files: Mapping[str, Path], package: str) -> int:
    """Returns the lines of a package's Python files, blank lines and comments among them."""
    own = [path for module, path in files.items() if module.split(".")[0] == package]
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in own)


def function_lengths(parsed: ast.Module) -> Iterator[tuple[str, int]]:
    """Yields the name of each function and method and the lines of its body, the docstring left out."""
    for node in ast.walk(parsed):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            yield node.name, (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def table_of(reports: Mapping[str, Report]) -> Table:
    """Returns the figures as rows with one column per tree; circles as their number and their sizes."""
    table = Table("", title="The import graph")
    for tree in reports:
        table.add_column(tree, overflow="fold")
    for name in next(iter(reports.values())):
        table.add_row(name, *(cell(report[name]) for report in reports.values()))
    return table


def cell(value: object) -> str:
    """Returns a figure as text: of a list its length, and below it the entries, a circle shown by its size."""
    if not isinstance(value, list):
        return str(value)
    entries = [f"{len(entry)}: {entry[0]} ... {entry[-1]}" if isinstance(entry, list) else entry for entry in value]
    return "\n".join([str(len(value)), *entries])


def parse_options() -> argparse.Namespace:
    """Returns the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tree", type=Path, action="append", help="a checkout; repeatable; this folder by default")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
