"""The streams we follow, by the name of the source whose trades they bring."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.sources.binance_stream import BinanceFuturesStream, BinanceStream
from pipelines.sources.coinbase_stream import CoinbaseStream
from pipelines.sources.kraken_stream import KrakenStream
from pipelines.sources.streams import Stream, StreamFactory, websocket_url
from pipelines.sources.yahoo_stream import YahooStream

STREAMS: Mapping[str, StreamFactory] = {
    "binance": BinanceStream,
    "binance_futures": BinanceFuturesStream,
    "yahoo": YahooStream,
    "coinbase": CoinbaseStream,
    "kraken": KrakenStream,
}


def stream_of(name: str, stream_url: str = "", base_url: str = "") -> Stream | None:
    """The stream of a source, at `stream_url`, else where its REST was put; None where we know none."""
    make = STREAMS.get(name)
    address = stream_url or (websocket_url(base_url) if base_url else "")
    return make(address or None) if make else None
