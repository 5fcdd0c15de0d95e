"""CQL2 text read into the form of CQL2 JSON (OGC 21-065r2), so that one compiler serves both.

The grammar follows annex B of the standard without arrays; it does not part boolean from scalar expressions, for
app.maps.filters checks the types.

pygeofilter's grammar is not used: it gives AND and OR the same rank (`a OR b AND c` becomes `(a OR b) AND c`), knows
no doubled quote in a string, and takes the temporal functions of an earlier draft.
"""

from __future__ import annotations

from typing import Any

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedInput, UnexpectedToken

Node = Any
_GRAMMAR = r"""
?start: expression

?expression: term
    | expression "OR"i term                             -> or_
?term: factor
    | term "AND"i factor                                -> and_
?factor: predicate
    | "NOT"i factor                                     -> not_

?predicate: sum
    | sum COMPARISON sum                                -> comparison
    | sum "LIKE"i sum                                   -> like
    | sum "ILIKE"i sum                                  -> ilike
    | sum "NOT"i "LIKE"i sum                            -> not_like
    | sum "NOT"i "ILIKE"i sum                           -> not_ilike
    | sum "BETWEEN"i sum "AND"i sum                     -> between
    | sum "NOT"i "BETWEEN"i sum "AND"i sum              -> not_between
    | sum "IN"i "(" sum ("," sum)* ")"                  -> in_
    | sum "NOT"i "IN"i "(" sum ("," sum)* ")"           -> not_in
    | sum "IS"i "NULL"i                                 -> null
    | sum "IS"i "NOT"i "NULL"i                          -> not_null

?sum: product
    | sum "+" product                                   -> add
    | sum "-" product                                   -> subtract
?product: atom
    | product "*" atom                                  -> multiply
    | product "/" atom                                  -> divide

?atom: "(" expression ")"
    | "-" atom                                          -> negative
    | NUMBER                                            -> number
    | STRING                                            -> string
    | "TRUE"i                                           -> true
    | "FALSE"i                                          -> false
    | "DATE"i "(" STRING ")"                            -> date
    | "TIMESTAMP"i "(" STRING ")"                       -> timestamp
    | "INTERVAL"i "(" sum "," sum ")"                   -> interval
    | "BBOX"i "(" signed ("," signed)* ")"              -> bbox
    | NAME "(" expression ("," expression)* ")"         -> function
    | property
    | geometry

?property: NAME                                         -> property
    | QUOTED                                            -> quoted_property

?signed: NUMBER                                         -> number
    | "-" NUMBER                                        -> negative_number

geometry: GEOMETRY ordinates
ordinates: "(" part ("," part)* ")"
?part: ordinates
    | GEOMETRY ordinates                                -> geometry_text
    | position
position: coordinate+
?coordinate: NUMBER                                     -> positive_text
    | "-" NUMBER                                        -> negative_text

COMPARISON: "<>" | "<=" | ">=" | "=" | "<" | ">"
GEOMETRY.3: /((MULTI)?(POINT|LINESTRING|POLYGON)|GEOMETRYCOLLECTION)(\s*Z(?=\s*\())?(?=\s*\()/i
NAME: /[^\W\d][\w.:]*/
QUOTED: /"[^"]+"/
STRING: /'(?:[^'\\]|''|\\'|\\(?!'))*'/
NUMBER: /(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?/

%import common.WS
%ignore WS
"""


def _operation(name: str) -> Any:
    return lambda self, *args: {"op": name, "args": list(args)}


def _chain(name: str) -> Any:
    """An operation that joins any number: a long chain is one flat list, not a deep tree."""

    def join(self: Any, left: Node, right: Node) -> Node:
        if isinstance(left, dict) and left.get("op") == name:
            left["args"].append(right)
            return left
        return {"op": name, "args": [left, right]}

    return join


def _negated(name: str) -> Any:
    return lambda self, *args: {"op": "not", "args": [getattr(self, name)(*args)]}


def _string(token: str) -> str:
    return token[1:-1].replace("''", "'").replace("\\'", "'")


def _number(text: str) -> int | float:
    # Python refuses to read a whole number of thousands of digits; as a float it is infinite, and refused later.
    return int(text) if text.isdigit() and len(text) < 20 else float(text)


@v_args(inline=True)
class _ToJson(Transformer[Token, Node]):
    """Each rule as CQL2 JSON has it."""

    and_, or_, not_ = _chain("and"), _chain("or"), _operation("not")
    add, subtract, multiply, divide = _operation("+"), _operation("-"), _operation("*"), _operation("/")
    like, null = _operation("like"), _operation("isNull")
    not_like, not_null = _negated("like"), _negated("null")
    not_between, not_in, not_ilike = _negated("between"), _negated("in_"), _negated("ilike")

    def comparison(self, left: Node, operator: Token, right: Node) -> Node:
        return {"op": str(operator), "args": [left, right]}

    def ilike(self, left: Node, pattern: Node) -> Node:
        # Not of the standard: what GDAL writes for its own ILIKE.
        return {"op": "like", "args": [{"op": "casei", "args": [side]} for side in (left, pattern)]}

    def between(self, value: Node, low: Node, high: Node) -> Node:
        return {"op": "between", "args": [value, low, high]}

    def in_(self, value: Node, *listed: Node) -> Node:
        return {"op": "in", "args": [value, list(listed)]}

    def negative(self, value: Node) -> Node:
        return -value if isinstance(value, int | float) and not isinstance(value, bool) else self.multiply(-1, value)

    def number(self, token: Token) -> Node:
        return _number(token)

    def negative_number(self, token: Token) -> Node:
        return -_number(token)

    def string(self, token: Token) -> Node:
        return _string(token)

    def true(self) -> Node:
        return True

    def false(self) -> Node:
        return False

    def date(self, token: Token) -> Node:
        return {"date": _string(token)}

    def timestamp(self, token: Token) -> Node:
        return {"timestamp": _string(token)}

    def interval(self, start: Node, end: Node) -> Node:
        return {"interval": [start, end]}

    def bbox(self, *numbers: Node) -> Node:
        return {"bbox": list(numbers)}

    def function(self, name: Token, *args: Node) -> Node:
        return {"op": name.lower(), "args": list(args)}

    def property(self, name: Token) -> Node:
        return {"property": str(name)}

    def quoted_property(self, name: Token) -> Node:
        return {"property": name[1:-1]}

    def positive_text(self, token: Token) -> str:
        return str(token)

    def negative_text(self, token: Token) -> str:
        return f"-{token}"

    def position(self, *coordinates: str) -> str:
        return " ".join(coordinates)

    def ordinates(self, *parts: str) -> str:
        return f"({','.join(parts)})"

    def geometry_text(self, kind: Token, ordinates: str) -> str:
        return f"{kind.upper()} {ordinates}"

    def geometry(self, kind: Token, ordinates: str) -> Node:
        # Well-known text stays text: shapely reads it, as it reads the GeoJSON of CQL2 JSON.
        return {"wkt": self.geometry_text(kind, ordinates)}


_PARSER = Lark(
    _GRAMMAR,
    parser="lalr",
    maybe_placeholders=False,
    transformer=_ToJson(),
)


def parse_text(text: str) -> Node:
    """A filter in CQL2 text as CQL2 JSON, with `{"wkt": …}` for geometries.

    Raises:
        ValueError: it is none; says at which character.
    """
    try:
        return _PARSER.parse(text)
    except UnexpectedInput as error:
        at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
        where = "its end" if at_end or error.pos_in_stream is None else f"character {error.pos_in_stream + 1}"
        raise ValueError(f"it cannot be read as CQL2 text at {where}") from None
