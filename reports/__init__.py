"""WHAT IS SHOWN AND SENT: the static site and the digests."""
