"""What a comparison is and how it runs: plan, protect, score, store, track, leaderboard, command line."""
