"""The game: a player's socket (ways 1 and 2)."""
