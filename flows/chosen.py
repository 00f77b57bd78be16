"""The streams that the settings ask for, without what a warehouse needs: the collector stays small."""

from __future__ import annotations

from pipelines.secrets import SecretError
from pipelines.settings import Settings
from pipelines.settings_sources import Source
from pipelines.sources.stream_registry import stream_of
from pipelines.sources.streams import Stream


def streams_of(settings: Settings) -> list[tuple[Stream, tuple[str, ...]]]:
    """The streams of the sources that have one and want it, each with its symbols."""
    found = [
        (stream_of(source.name, source.stream_url, source.base_url, key_of(source)), source.symbols)
        for source in settings.sources
        if source.stream
    ]
    return [(stream, symbols) for stream, symbols in found if stream]


def key_of(source: Source) -> str:
    """The source's key; none where it is not to be had: the adapter says so, and the other sources go on."""
    try:
        return source.api_key.reveal()
    except SecretError:
        return ""
