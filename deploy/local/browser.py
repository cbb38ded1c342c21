"""Finds a Chromium for the browser tests, and with ``python -m deploy.local.browser`` installs one where that is possible."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from contracts.settings import Settings

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_APT = ("apt-get", "install", "-y", "--no-install-recommends", "chromium")


def find() -> str | None:
    """Find the browser that the setting names, else a browser on the PATH, else Playwright's; None if there is none."""
    given = Settings.load().chromium
    if given:
        return given if Path(given).is_file() else None
    on_path = next((path for name in NAMES if (path := shutil.which(name))), None)
    return on_path or next((str(path) for path in sorted(_downloads().glob("chromium-*/chrome-linux*/chrome"))), None)


def _downloads() -> Path:
    return Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")


def install() -> bool:
    """Install a browser: Debian's package if we may, else Playwright's download; return whether a browser is there now."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing Chromium (apt-get, a minute) ...", flush=True)
        quiet = {
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
            "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        }
        subprocess.run(("apt-get", "update"), check=False, **quiet)  # type: ignore[call-overload]
        subprocess.run(_APT, check=False, **quiet)  # type: ignore[call-overload]
    if find() is None:
        subprocess.run((sys.executable, "-m", "playwright", "install", "chromium"), check=False)
    return find() is not None


if __name__ == "__main__":
    if find() is None and not install():
        print(f"no Chromium, so the browser's tests are left out: {' '.join(_APT)}, or name one by GAMENIGHT_CHROMIUM")
