"""Conditions such as `late_rate > 0.1 and rows > 10`: read with a whitelist, and judged over figures.

A language of our own over Python's grammar rather than a template engine's sandbox: which names a condition asks for is
known before anything runs, nothing but numbers, texts and comparisons can be said, and every mistake has its sentence.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any

from pipeline.errors import PermanentError
from pipeline.mistakes import did_you_mean

LONGEST = 300
FUNCTIONS: Mapping[str, Callable[..., Any]] = {"abs": abs, "min": min, "max": max, "round": round}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_IDENTITIES: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {ast.Is: operator.is_, ast.IsNot: operator.is_not}


def parse(text: str) -> ast.expr:
    """The condition as a tree of what is allowed. Raises ValueError with a sentence for anything else."""
    if len(text) > LONGEST:
        raise ValueError(f"is longer than {LONGEST} characters: compute a figure in build(), and compare that")
    try:
        # Over several lines it is one expression all the same, as in brackets.
        said = text.strip()
        tree = ast.parse(f"({said}\n)" if "\n" in said else said, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f'"{text}" is no condition: write it like `late_rate > 0.1 and rows > 10`') from None
    _check(tree, text)
    return tree


def names(text: str) -> list[str]:
    """The figures that the condition asks for, each once, in its order."""
    tree = parse(text)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called]
    return list(dict.fromkeys(node.id for node in sorted(found, key=lambda node: (node.lineno, node.col_offset))))


def holds(text: str, figures: Mapping[str, Any]) -> bool:
    """Whether the condition is true of these figures.

    Raises PermanentError for a figure that is not there or has no value, and for values that cannot be compared.
    """
    tree = parse(text)
    check_names(text, figures)
    try:
        found = _value(tree, figures)
    except ZeroDivisionError:
        raise PermanentError(f'"{text}" divides by 0{_said(text, figures)}') from None
    except (TypeError, ValueError, OverflowError) as error:
        raise PermanentError(f'"{text}" cannot be judged: {error}{_said(text, figures)}') from None
    if not isinstance(found, bool):
        raise PermanentError(f'"{text}" is {found!r}, neither true nor false: compare it with something')
    return found


def check_names(text: str, known: Collection[str]) -> None:
    """Raises PermanentError for a name that is no figure, with the nearest one that is."""
    for name in names(text):
        if name not in known:
            hint = did_you_mean(name, known, f"there are {', '.join(sorted(known))}")
            raise PermanentError(f'there is no figure "{name}": {hint}')


def said(text: str, figures: Mapping[str, Any]) -> str:
    """What the figures are that the condition asks for: `late_rate is 0.04, rows is 12`."""
    return ", ".join(f"{name} is {_shown(figures.get(name))}" for name in names(text))


def _said(text: str, figures: Mapping[str, Any]) -> str:
    about = said(text, figures)
    return f" ({about})" if about else ""


def _shown(value: Any) -> str:
    if isinstance(value, float | Decimal):
        return f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else repr(value)


def _check(tree: ast.expr, text: str) -> None:
    match tree:
        case ast.BoolOp(values=parts):
            pass
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd(), operand=part):
            parts = [part]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            parts = [left, right]
        case ast.Compare(left=left, ops=ops, comparators=others) if all(map(_is_known, ops)):
            parts = [left, *others]
        case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]) if name in FUNCTIONS:
            pass
        case ast.Name() | ast.Constant(value=int() | float() | str() | None):
            parts = []
        case _:
            raise ValueError(
                f'"{text}": `{ast.unparse(tree)}` cannot be said here; there are numbers, "texts", figures, '
                f"+ - * / %, comparisons, and, or, not, {', '.join(FUNCTIONS)}"
            )
    for part in parts:
        _check(part, text)


def _is_known(op: ast.cmpop) -> bool:
    return type(op) in _COMPARISONS or type(op) in _IDENTITIES


def _value(tree: ast.expr, figures: Mapping[str, Any]) -> Any:
    match tree:
        case ast.Constant():
            found = tree.value
        case ast.Name():
            found = figures[tree.id]
        case ast.BoolOp(op=op, values=parts):
            each = (_truth(part, figures) for part in parts)
            found = all(each) if isinstance(op, ast.And) else any(each)
        case ast.UnaryOp(op=ast.Not(), operand=part):
            found = not _truth(part, figures)
        case ast.UnaryOp(op=op, operand=part):
            found = -_number(part, figures) if isinstance(op, ast.USub) else _number(part, figures)
        case ast.BinOp(left=left, op=op, right=right):
            found = _ARITHMETIC[type(op)](_number(left, figures), _number(right, figures))
        case ast.Call(func=ast.Name(id=name), args=parts):
            found = FUNCTIONS[name](*[_number(part, figures) for part in parts])
        case ast.Compare():
            found = _compared(tree, figures)
        case _:  # _check lets nothing else through
            raise TypeError(ast.unparse(tree))
    return float(found) if isinstance(found, Decimal) else found


def _compared(tree: ast.Compare, figures: Mapping[str, Any]) -> bool:
    nodes = [tree.left, *tree.comparators]
    for left, op, right in zip(nodes, tree.ops, nodes[1:], strict=False):
        if type(op) in _IDENTITIES:
            met = _IDENTITIES[type(op)](_value(left, figures), _value(right, figures))
        else:
            met = _COMPARISONS[type(op)](_present(left, figures), _present(right, figures))
        if not met:
            return False
    return True


def _truth(tree: ast.expr, figures: Mapping[str, Any]) -> bool:
    value = _value(tree, figures)
    if not isinstance(value, bool):
        raise TypeError(f"{ast.unparse(tree)} is neither true nor false")
    return value


def _number(tree: ast.expr, figures: Mapping[str, Any]) -> Any:
    value = _present(tree, figures)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{ast.unparse(tree)} is not a number")
    return value


def _present(tree: ast.expr, figures: Mapping[str, Any]) -> Any:
    value = _value(tree, figures)
    if value is None:
        name = ast.unparse(tree)
        raise TypeError(f"{name} has no value here: say `{name} is not None and …` first")
    return value
