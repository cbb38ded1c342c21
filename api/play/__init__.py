"""Plays the game with players over their sockets (ways 1 and 2)."""
