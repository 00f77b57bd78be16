"""Frames in, page models out: what each page says, without a word of HTML."""
