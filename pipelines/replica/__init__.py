"""The exchange replica: venues on loopback for the demo, drills and tests."""
