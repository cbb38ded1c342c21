"""Starts the services of `gamenight up` on one machine; each is replaced by an outside service when its setting is given."""
