"""The door: sockets for players and watchers, HTTP for operators and app developers."""
