"""The same numbers as text, Markdown, LaTeX, CSV and JSON."""
