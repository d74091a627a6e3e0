"""Parser for conditions on columns, such as ``x_sig < 30 and prob > 0.8 and 0 <= z_nm < 500``.

The text is parsed with Python's grammar but never executed. Only column names, numbers, comparisons, ``and or not``,
``+ - * / **`` and ``abs sqrt log10 isfinite`` are allowed; anything else is an error.
"""

import ast
import difflib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from lls_decode.errors import ConfigError

_ARITHMETIC: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: pc.add, ast.Sub: pc.subtract, ast.Mult: pc.multiply, ast.Div: pc.divide, ast.Pow: pc.power,
}  # fmt: skip
_COMPARISONS: Final[dict[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
}
_FUNCTIONS: Final[dict[str, Callable[[Any], Any]]] = {"abs": pc.abs, "sqrt": pc.sqrt, "log10": pc.log10}
_CONDITIONS: Final[dict[str, Callable[[Any], Any]]] = {"isfinite": pc.is_finite}
_EQUALS: Final = re.compile(r"\b([A-Za-z_]\w*)\s*=(?=\s*-?\d+\b(?!\.))")
_EXAMPLE = "x_sig < 30 and prob > 0.8"
_LONGEST: Final = 10_000
"""Largest number of characters of a condition; Arrow, which is recursive, crashes the process on expressions that are
nested deeper than a condition of this length can be."""


@dataclass(frozen=True)
class Condition:
    """A condition on the columns of a table."""

    expression: pc.Expression
    columns: frozenset[str]
    """Columns used in the condition."""

    def __and__(self, other: "Condition") -> "Condition":
        return Condition(self.expression & other.expression, self.columns | other.columns)


def parse_condition(text: str, schema: pa.Schema) -> Condition:
    """Parse a condition on the columns of a schema.

    For integer columns, ``channel = 0`` is read as ``channel == 0``. A number is converted to the type of the column
    that it is compared with, so ``prob == 0.9`` matches the float32 nearest to 0.9. Arithmetic is in float64. A
    comparison with NaN is false.

    Raises
    ------
    ConfigError
        The text is not a valid condition, or names an unknown column.
    """
    if len(text) > _LONGEST:
        raise ConfigError(
            f"The condition {text[:50]!r}... cannot be read (it has {len(text)} characters, expected at most "
            f"{_LONGEST}); filter in several steps."
        )
    try:
        tree = ast.parse(_with_double_equals(text.strip(), schema), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "it cannot be parsed"
        raise ConfigError(f"The condition {text!r} cannot be read ({reason}); expected e.g. {_EXAMPLE!r}.") from error
    parser = _Parser(text, schema)
    return Condition(parser.condition(tree.body), frozenset(parser.columns))


def _with_double_equals(text: str, schema: pa.Schema) -> str:
    """Replace ``=`` by ``==`` between the name of an integer column and an integer."""
    whole = {field.name for field in schema if pa.types.is_integer(field.type)}
    return _EQUALS.sub(lambda found: found[0] + "=" * (found[1] in whole), text)


class _Parser:
    """Converter of a syntax tree to an Arrow expression, with separate methods for conditions and for numbers."""

    def __init__(self, text: str, schema: pa.Schema) -> None:
        self._text, self._schema = text, schema
        self.columns: set[str] = set()

    def condition(self, node: ast.expr) -> pc.Expression:
        match node:
            case ast.BoolOp(op=op, values=values):
                result = self.condition(values[0])
                for value in values[1:]:
                    other = self.condition(value)
                    result = result & other if isinstance(op, ast.And) else result | other
                return result
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ~self.condition(operand)
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                return self._chain([left, *comparators], ops)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _CONDITIONS:
                return _CONDITIONS[name](self.number(argument))
        raise self._refused(node, "is not a condition")

    def number(self, node: ast.expr) -> pc.Expression:
        """Convert a numeric expression, computed in float64 because differences of unsigned columns would wrap."""
        match node:
            case ast.Name(id=name):
                return self._field(name).cast(pa.float64())
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return pc.negate(self.number(operand))
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.number(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return _ARITHMETIC[type(op)](self.number(left), self.number(right))
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
                return _FUNCTIONS[name](self.number(argument))
        value = _constant(node)
        if value is None:
            raise self._refused(node, "is neither a number nor a column")
        return pc.scalar(float(value))

    def _chain(self, values: list[ast.expr], ops: list[ast.cmpop]) -> pc.Expression:
        """Convert a chained comparison: ``a < b <= c`` means ``a < b and b <= c``."""
        parts = [self._compare(*three) for three in zip(values, ops, values[1:], strict=False)]
        result = parts[0]
        for part in parts[1:]:
            result = result & part
        return result

    def _compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pc.Expression:
        if type(op) not in _COMPARISONS:
            raise self._refused(ast.Compare(left, [op], [right]), "is not a comparison of numbers")
        compare = _COMPARISONS[type(op)]
        # a plain column is compared without a cast, so that Parquet statistics can exclude whole row groups
        match left, right:
            case ast.Name(id=name), _ if (value := _constant(right)) is not None:
                return compare(self._field(name), self._literal(name, value))
            case _, ast.Name(id=name) if (value := _constant(left)) is not None:
                return compare(self._literal(name, value), self._field(name))
        return compare(self.number(left), self.number(right))

    def _literal(self, name: str, value: int | float) -> pc.Expression:
        kind = self._schema.field(name).type
        if pa.types.is_floating(kind):
            return pc.scalar(pa.scalar(float(value), kind))
        return pc.scalar(value if abs(value) < 2**63 else float(value))

    def _field(self, name: str) -> pc.Expression:
        if name not in self._schema.names:
            close = difflib.get_close_matches(name, self._schema.names, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ConfigError(
                f"The condition {self._text!r} names {name!r}, which is not a column{hint}; the columns are "
                f"{', '.join(self._schema.names)}."
            )
        self.columns.add(name)
        return pc.field(name)

    def _refused(self, node: ast.expr, reason: str) -> ConfigError:
        return ConfigError(
            f"In the condition {self._text!r}, {ast.unparse(node)!r} {reason}; expected comparisons of columns and "
            f"numbers joined by and, or, not, e.g. {_EXAMPLE!r}."
        )


def _constant(node: ast.expr) -> int | float | None:
    """Return the value of a numeric literal with its sign; None for any other node."""
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return sign * value if abs(value) < 2**1000 else sign * math.inf  # larger integers are no floats
