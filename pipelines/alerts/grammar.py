"""The rule language: comparisons on column names, read by our own parser and never by `eval`.

    abs(dev_20_pct) > 5
    volume_ratio > 3 and (volume_robust_z > 3 or volume_robust_z is null)
    close / sma_20 - 1 < -0.02 and not is_complete

Weakest first: `or`, `and`, `not`, comparisons and `is [not] null`, `+ -`, `* /`, unary minus.
Keywords are read in any case. A text that does not parse, compares truth with numbers or names an unknown
column raises RuleSyntaxError, which shows the place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches

from pipelines.alerts.expression import (
    Absolute,
    Arithmetic,
    Both,
    Column,
    Columns,
    Compare,
    Either,
    Expression,
    IsNull,
    Kind,
    Negative,
    Not,
    Number,
    kind_of,
    names_in,
)

LONGEST = 1000
DEEPEST = 40


class RuleSyntaxError(ValueError):
    """A rule that cannot be read; `position` is the offset of the offending word in `text`."""

    def __init__(self, reason: str, text: str, position: int) -> None:
        super().__init__(f"{reason} (at character {position + 1})\n  {text}\n  {' ' * position}^")
        self.reason = reason
        self.text = text
        self.position = position


_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
    r"|(?P<word>[A-Za-z_][A-Za-z_0-9]*)|(?P<sign>>=|<=|==|!=|[-+*/()<>]))"
)
_HINTS = {
    "=": "write == to compare",
    "&": "write and",
    "|": "write or",
    "!": "write not",
    "'": "rules compare numbers",
}
_BINDS = {"or": 1, "and": 2, "+": 5, "-": 5, "*": 6, "/": 6} | dict.fromkeys(
    (">", ">=", "<", "<=", "==", "!=", "is"), 4
)
_COMPARISON = 4
_KEYWORDS = ("and", "or", "not", "is", "null", "abs")


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    position: int


def parse(text: str, columns: Columns) -> Expression:
    """The condition that `text` states on `columns` (name -> number or truth).

    Raises RuleSyntaxError; also where the whole is a number (`close + 1`) or no column is named.
    """
    if len(text) > LONGEST:
        raise RuleSyntaxError(f"a rule has at most {LONGEST} characters, this one {len(text)}", text[:60], 0)
    parser = _Parser(text, columns)
    whole = parser.expression(0)
    if parser.token.kind != "end":
        parser.fail(f"expected and, or, or the end, found {parser.token.text!r}")
    if kind_of(whole) != "truth":
        raise RuleSyntaxError("a rule is a comparison such as volume_ratio > 3, this is a number", text, 0)
    if not names_in(whole):
        raise RuleSyntaxError("the rule names no column, so it would always say the same", text, 0)
    return whole


def _tokens(text: str) -> list[Token]:
    found: list[Token] = []
    position = 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            start = position + len(text[position:]) - len(text[position:].lstrip())
            hint = _HINTS.get(text[start])
            raise RuleSyntaxError(f"cannot read {text[start]!r}" + (f"; {hint}" if hint else ""), text, start)
        word = match[match.lastgroup]
        word = word.lower() if word.lower() in _KEYWORDS else word
        found.append(Token(match.lastgroup, word, match.start(match.lastgroup)))
        position = match.end()
    return [*found, Token("end", "the end", len(text.rstrip()))]


class _Parser:
    """Precedence climbing over the tokens of one text."""

    def __init__(self, text: str, columns: Columns) -> None:
        self.text = text
        self.columns = columns
        self.tokens = _tokens(text)
        self.index = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    def advance(self) -> Token:
        token = self.token
        self.index += token.kind != "end"
        return token

    def fail(self, reason: str, token: Token | None = None) -> None:
        raise RuleSyntaxError(reason, self.text, (token or self.token).position)

    def expect(self, text: str) -> None:
        if self.token.text != text or self.token.kind == "end":
            self.fail(f"expected {text!r}, found {self.token.text!r}")
        self.advance()

    def expression(self, weakest: int) -> Expression:
        """Everything from here that binds at least as tightly as `weakest`."""
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail(f"nested more than {DEEPEST} deep")
        left = self.operand()
        while self.token.kind != "end" and (binds := _BINDS.get(self.token.text, 0)) and binds >= weakest:
            operator = self.advance()
            left = self.null_test(left) if operator.text == "is" else self.binary(operator, binds, left)
            if (
                binds == _COMPARISON
                and _BINDS.get(self.token.text) == _COMPARISON
                and self.token.kind != "end"
            ):
                self.fail("comparisons cannot be chained; write a < x and x < b")
        self.depth -= 1
        return left

    def operand(self) -> Expression:
        token = self.advance()
        match token.kind, token.text:
            case "number", digits:
                return Number(float(digits))
            case "sign", "-":
                return Negative(self.need("number", self.expression(7), token))
            case "sign", "(":
                inner = self.expression(0)
                self.expect(")")
                return inner
            case "word", "not":
                return Not(self.need("truth", self.expression(3), token))
            case "word", "abs":
                self.expect("(")
                inner = self.need("number", self.expression(0), token)
                self.expect(")")
                return Absolute(inner)
            case "word", name if name not in _KEYWORDS:
                return self.column(token)
        raise RuleSyntaxError(
            f"expected a column, a number or '(', found {token.text!r}", self.text, token.position
        )

    def column(self, token: Token) -> Column:
        name = token.text if token.text in self.columns else token.text.lower()
        if name in self.columns:
            return Column(name, self.columns[name])
        near = get_close_matches(name, self.columns, n=1, cutoff=0.6)
        hint = (
            f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(self.columns)[:12])}, ..."
        )
        raise RuleSyntaxError(f"unknown column {token.text!r}; {hint}", self.text, token.position)

    def null_test(self, left: Expression) -> Expression:
        negated = self.token.text == "not"
        if negated:
            self.advance()
        self.expect("null")
        return Not(IsNull(left)) if negated else IsNull(left)

    def binary(self, operator: Token, binds: int, left: Expression) -> Expression:
        right = self.expression(binds + 1)
        kind: Kind = "truth" if operator.text in ("and", "or") else "number"
        self.need(kind, left, operator)
        self.need(kind, right, operator)
        if operator.text == "and":
            return Both(left, right)
        if operator.text == "or":
            return Either(left, right)
        return (Compare if binds == _COMPARISON else Arithmetic)(operator.text, left, right)

    def need(self, kind: Kind, node: Expression, operator: Token) -> Expression:
        if kind_of(node) != kind:
            wanted = "numbers" if kind == "number" else "conditions"
            self.fail(
                f"{operator.text!r} takes {wanted} on both sides"
                if operator.text not in ("not", "abs")
                else f"{operator.text!r} takes {'a number' if kind == 'number' else 'a condition'}",
                operator,
            )
        return node
