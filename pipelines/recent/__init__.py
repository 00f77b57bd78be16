"""The minute from what is at hand, without reading the lake: what a run leaves for the next one, and how it goes on.

`past` holds the newest bars and all that judges them, `reading` makes it from the lake, `arrivals` says what a
delivery changes, `closing` makes the windows whose time is over, `advance` derives everything the minute writes.
Whoever finds that something else is needed raises NotAtHandError, and `pipelines.derive` does the same from the lake.
"""
