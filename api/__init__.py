"""Lets people into the game: sockets for players and watchers, HTTP for operators and app developers."""
