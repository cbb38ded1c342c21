"""Runs Game Night: the command line, and under local/ the services that one machine needs in the place of outside ones."""
