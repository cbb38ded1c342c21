"""How it is run: the command line, and under local/ what one machine needs in the place of outside services."""
