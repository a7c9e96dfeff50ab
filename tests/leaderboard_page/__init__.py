"""docs/leaderboard.md says nothing that no test holds."""
