"""Trials in this process, without Ray: one after the other, or several in turns."""
