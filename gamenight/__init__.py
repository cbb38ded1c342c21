"""Clients of a running game, for programs of others: `gamenight.client` has all that they import (beside all ways)."""
