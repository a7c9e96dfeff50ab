"""The command line: typer, options, text on the screen. Nothing imports it."""

from ltbench.cli.commands import app, main

__all__ = ["app", "main"]
