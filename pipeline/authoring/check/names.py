"""What a template names: other templates, blocks to fill, values to show. Faults are pairs of line and sentence."""

from __future__ import annotations

from collections.abc import Iterator

from jinja2 import Environment, TemplateSyntaxError, meta, nodes

from pipeline.adapters.documents.bundles import BASE
from pipeline.adapters.documents.templates import Templates
from pipeline.mistakes import did_you_mean

Found = tuple[int, str]


def references(tree: nodes.Template, templates: Templates, inside: str) -> Iterator[Found]:
    """Templates that are extended, included or imported and are not there, or lead back to `inside` itself."""
    kinds = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)
    for node in tree.find_all(kinds):
        for name in _constants(node):
            found = templates.find(name)
            if found is None and not getattr(node, "ignore_missing", False):
                known = [one for one in templates.environment.list_templates() if not one.endswith("words.json")]
                hint = did_you_mean(name, known, f"there are {', '.join(known[:12])}")
                yield node.lineno, f'"{name}" is not there: {hint}'
            elif isinstance(node, nodes.Extends) and found == templates.find(inside):
                yield node.lineno, f'it extends itself: write {{% extends "{BASE}/{name}" %}}'


def _constants(node: nodes.Node) -> Iterator[str]:
    """The names written out in a node; what is computed is left to the rendering."""
    template = getattr(node, "template", None)
    for one in template.items if isinstance(template, nodes.Tuple | nodes.List) else [template]:
        if isinstance(one, nodes.Const) and isinstance(one.value, str):
            yield one.value


def blocks(tree: nodes.Template, templates: Templates) -> Iterator[Found]:
    """Blocks that nothing above has: what is written in them would be left out without a word."""
    known = _inherited(tree, templates, set())
    if known is None:
        return
    # A block inside of one that is filled is shown with it.
    inner = {block.name for outer in tree.find_all(nodes.Block) for block in outer.find_all(nodes.Block)}
    for block in tree.find_all(nodes.Block):
        if block.name not in known | inner:
            hint = did_you_mean(block.name, known, f"there are {', '.join(sorted(known))}")
            yield block.lineno, f'block "{block.name}" is in none of the templates it extends: {hint}'


def _inherited(tree: nodes.Template, templates: Templates, seen: set[str]) -> set[str] | None:
    """All blocks of the templates that this one extends; None where it extends none, or nobody can tell."""
    parent = next(iter(tree.find_all(nodes.Extends)), None)
    name = next(_constants(parent), None) if parent else None
    path = templates.find(name) if name else None
    if name is None or path is None or name in seen:
        return None
    try:
        above = templates.environment.parse(path.read_text(encoding="utf-8"))
    except (TemplateSyntaxError, UnicodeDecodeError):
        return None
    own = {block.name for block in above.find_all(nodes.Block)}
    return own | (_inherited(above, templates, seen | {name}) or set())


def unknown(tree: nodes.Template, environment: Environment, known: set[str]) -> Iterator[Found]:
    """Values that the template shows and nobody gives it; what it asks about with `is defined` or `default` may be."""
    asked = {node.node.name for node in tree.find_all(nodes.Test) if isinstance(node.node, nodes.Name)}
    asked |= {
        node.node.name
        for node in tree.find_all(nodes.Filter)
        if node.name in {"default", "d"} and isinstance(node.node, nodes.Name)
    }
    # A {% set %}, {% macro %} or {% import %} outside of a block is seen in blocks.
    made = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"}
    made |= {node.name for node in tree.find_all(nodes.Macro)} | {node.target for node in tree.find_all(nodes.Import)}
    given = known | made | asked | environment.globals.keys() | {"loop", "self", "super", "caller", "varargs", "kwargs"}
    for name in sorted(meta.find_undeclared_variables(tree) - given):
        line = next(node.lineno for node in tree.find_all(nodes.Name) if node.name == name)
        hint = did_you_mean(name, known, f"there is {', '.join(sorted(known))}")
        yield line, f'"{name}" is not known: {hint}'
