"""`make test` in a Debian of its own, where nothing is installed but python3, python3-venv, make and git.

    python tests/campaigns/roots.py            # Debian 13, which has Python 3.13
    python tests/campaigns/roots.py forky      # a later one

Takes the package mirror, the pip index and the certificates that this machine uses. Needs root, debootstrap, 8 GB of
disk and some minutes beside those of the suite. Exit status: that of `make test`, or 1 if it cannot run here.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = "python3,python3-venv,make,git,ca-certificates"
SCRIPTS = Path("/usr/share/debootstrap/scripts")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
COPIED = ("/etc/pip.conf", "~/.config/pip/pip.conf", "~/.pip/pip.conf", CERTIFICATES, "/etc/resolv.conf", "/etc/hosts")
PASSED_ON = re.compile(r"PIP_\w+|UV_\w+|(https?|no|all)_proxy|SSL_CERT_\w+|REQUESTS_CA_BUNDLE", re.IGNORECASE)
INSIDE = "mount --rbind /dev $0/dev && mount -t proc proc $0/proc && exec chroot $0 make -C /project test"


def mirrors(apt: Path = Path("/etc/apt")) -> Iterator[str]:
    """The addresses of Debian's main packages, from both forms of apt's lists."""
    for file in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]:
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        yield from re.findall(r"(?m)^\s*deb\s+(?:\[[^]]*\]\s+)?(\S+/debian/?)\s+\S+\s+(?:.*\s)?main\b", text)
    for file in sorted((apt / "sources.list.d").glob("*.sources")):
        for paragraph in re.split(r"\n\s*\n", file.read_text(encoding="utf-8")):
            fields = {key.lower(): value.split() for key, value in re.findall(r"(?m)^([\w-]+):(.*)$", paragraph)}
            if "deb" in fields.get("types", []) and "main" in fields.get("components", []):
                yield from (uri for uri in fields.get("uris", []) if re.search(r"/debian/?$", uri))


def what_is_missing() -> str:
    """Why it cannot run here; empty if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it needs Linux and root, for chroot"
    for program, package in (("debootstrap", "debootstrap"), ("unshare", "util-linux"), ("git", "git")):
        if shutil.which(program) is None:
            return f"{program} is not installed: apt-get install {package}"
    if next(mirrors(), None) is None:
        return "no mirror of Debian's packages stands in /etc/apt/sources.list or /etc/apt/sources.list.d"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        return "this machine allows no mount namespace (unshare --mount)"
    return ""


def make_root(root: Path, suite: str) -> None:
    """Debian with the few packages, the project's files (no build output) at /project, this machine's network."""
    script = [] if (SCRIPTS / suite).exists() else [str(SCRIPTS / "sid")]
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(root), next(mirrors())]
    subprocess.run([*command, *script], check=True, stdout=subprocess.DEVNULL)
    listed = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"]
    for name in filter(None, subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0")):
        if (ROOT / name).is_file():
            copy(ROOT / name, root / "project" / name)
    for name in COPIED:
        if Path(name).expanduser().is_file():
            copy(Path(name).expanduser(), root / name.replace("~", "root").lstrip("/"))


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # which may be a link that leads out of the root
    shutil.copy(source, target)


def environment(here: Mapping[str, str]) -> dict[str, str]:
    """Of a fresh login, and how packages are reached from here."""
    fresh = {"HOME": "/root", "LANG": "C.UTF-8", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    return fresh | {name: value for name, value in here.items() if PASSED_ON.fullmatch(name)}


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs `make test` in a Debian of its own.")
    parser.add_argument("suite", nargs="?", default="trixie", help="the name of a Debian release (default: trixie)")
    suite = parser.parse_args().suite
    if missing := what_is_missing():
        print(f"make test-roots cannot run here: {missing}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="root-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        root = Path(folder) / suite
        print(f"making Debian {suite} in {root}", flush=True)
        make_root(root, suite)
        # The mounts are of a namespace that ends with the tests: when the folder is removed, nothing is mounted in it.
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", INSIDE, str(root)]
        return subprocess.run(command, env=environment(os.environ), stdin=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main())
