"""A leaderboard as LaTeX: a table with verdicts, and a two-column table of a paper."""
