"""Results -> leaderboard -> text, Markdown, CSV, JSON. Never imports torch or ray."""
