"""Results to leaderboard: what is compared, ranked and claimed."""
