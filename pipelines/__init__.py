"""WHAT IS TRUE: pure steps that receive the clock, the window and the settings as arguments."""
