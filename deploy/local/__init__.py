"""What `gamenight up` starts on one machine, each replaced by an outside service when its setting is given."""
