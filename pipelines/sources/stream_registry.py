"""The streams we follow, by the name of the source whose trades they bring."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.sources.binance_stream import BinanceFuturesStream, BinanceStream
from pipelines.sources.coinbase_stream import CoinbaseStream
from pipelines.sources.finage_stream import FinageStream
from pipelines.sources.fmp_stream import FmpStream
from pipelines.sources.kraken_stream import KrakenStream
from pipelines.sources.massive_stream import MassiveStream
from pipelines.sources.streams import Stream, StreamFactory, websocket_url
from pipelines.sources.yahoo_stream import YahooStream

STREAMS: Mapping[str, StreamFactory] = {
    "binance": BinanceStream,
    "binance_futures": BinanceFuturesStream,
    "yahoo": YahooStream,
    "coinbase": CoinbaseStream,
    "kraken": KrakenStream,
    "massive": MassiveStream,
    "fmp": FmpStream,
    "finage": FinageStream,
}


def stream_of(name: str, stream_url: str = "", base_url: str = "", key: str = "") -> Stream | None:
    """The stream of a source, at `stream_url`, else where its REST was put; None where we know none, or its key."""
    make = STREAMS.get(name)
    if make is None:
        return None
    address = stream_url or (websocket_url(base_url) if base_url else "")
    stream = make(address or None, key)
    return stream if key or not stream.needs_key else None
