"""The same instrument at another venue: BTCUSDT is BTC-USDT is XBTUSDT, and never BTC-USD.

Only the spelling changes. A currency is never swapped for one that is usually worth the same: in March 2023
a USDC was 0.87 USD.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SPOT = frozenset({"binance", "coinbase", "kraken", "yahoo"})
"""Venues whose coins are the same coins; a futures contract is another thing."""
SHARES = frozenset({"yahoo", "massive", "alpha_vantage", "fmp", "finage"})
"""Venues that spell US shares alike."""
QUOTES = ("USDT", "USDC", "FDUSD", "USD", "EUR", "GBP", "JPY", "TRY", "BRL", "AUD", "CAD", "CHF",
          "DAI", "BTC", "ETH", "BNB")  # fmt: skip
_KRAKENS = {"BTC": "XBT", "DOGE": "XDG"}
_USUAL = {theirs: ours for ours, theirs in _KRAKENS.items()}


@dataclass(frozen=True)
class Pair:
    """So much of `quote` for one `base`, both in the usual letters."""

    base: str
    quote: str


def translate(symbol: str, at: str, to: str) -> str | None:
    """What venue `to` calls the instrument that venue `at` calls `symbol`; None where it is not the same one.

    Venues that are not ours (plug-ins) are taken to spell it as they are asked for it.
    """
    if at == to:
        return symbol
    known = SPOT | SHARES | {"binance_futures"}
    if at not in known or to not in known:
        return symbol
    if at in SPOT and to in SPOT and (pair := read_pair(symbol, at)):
        return spell_pair(pair, to)
    is_share = at in SHARES and to in SHARES and not ("yahoo" in (at, to) and "-" in symbol)
    return symbol if is_share else None


def read_pair(symbol: str, venue: str) -> Pair | None:
    """The pair behind a venue's symbol; None where it is none."""
    text = symbol.upper()
    if venue in ("coinbase", "yahoo"):
        base, dash, quote = text.partition("-")
        return Pair(base, quote) if dash and base and quote in QUOTES else None
    if venue == "kraken":
        return _kraken_pair(text)
    return _split(text)


def spell_pair(pair: Pair, venue: str) -> str | None:
    """The pair as the venue writes it; None where it has no such thing (Yahoo knows coins in money only)."""
    if venue == "coinbase":
        return f"{pair.base}-{pair.quote}"
    if venue == "yahoo":
        return (
            f"{pair.base}-{pair.quote}" if len(pair.quote) == 3 and pair.quote not in ("BTC", "ETH") else None
        )
    if venue == "kraken":
        return _KRAKENS.get(pair.base, pair.base) + _KRAKENS.get(pair.quote, pair.quote)
    return pair.base + pair.quote


def _split(text: str) -> Pair | None:
    quote = next((quote for quote in QUOTES if text.endswith(quote) and text != quote), None)
    return Pair(text.removesuffix(quote), quote) if quote else None


def _kraken_pair(text: str) -> Pair | None:
    """`XBTUSDT`, and the long names of its oldest pairs: `XXBTZUSD`."""
    if match := re.fullmatch(r"X([A-Z]{3})Z([A-Z]{3})", text):
        text = match[1] + match[2]
    quotes = (*QUOTES, *_USUAL)
    quote = next((quote for quote in quotes if text.endswith(quote) and text != quote), None)
    if quote is None:
        return None
    base = text.removesuffix(quote)
    return Pair(_USUAL.get(base, base), _USUAL.get(quote, quote))
