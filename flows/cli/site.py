"""`tapewatch site`: the site on loopback HTTP."""

from __future__ import annotations

import sys
from pathlib import Path

from flows.cli.call import Injected
from flows.site_server import address, open_server


def site(*, host: str = "", port: int = -1, folder: Path | None = None, call: Injected) -> None:
    """Serve the site until Ctrl-C. The pages also open from the folder itself, without any server.

    Example: tapewatch site --port 8787

    Parameters
    ----------
    host
        Address to listen on; else [site] host.
    port
        Port, 0 for any free one; else [site] port. A taken one is left for the next.
    folder
        Folder to serve; else site_dir.
    """
    settings = call.settings
    shown = folder or settings.site_dir
    server = open_server(shown, host or settings.site.host, settings.site.port if port < 0 else port)
    with server:
        print(f"site: {address(server)} ({shown}); Ctrl-C ends it", flush=True)
        if not (shown / "index.html").is_file():
            print("there is no page yet: `tapewatch report` renders the site", file=sys.stderr)
        server.serve_forever(poll_interval=0.2)
