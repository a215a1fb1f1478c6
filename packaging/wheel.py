"""Writes a wheel (PEP 427) of a program and the Python client:

    wheel.py PROGRAM VERSION MACHINE LINKED OUTPUT

MACHINE and LINKED are those of machine.sh. The time of all files is SOURCE_DATE_EPOCH.
"""

import base64
import hashlib
import os
import sys
import time
import zipfile
from pathlib import Path

NAME = "supervisor_worker"


def tag(machine, linked):
    """For which systems the program is: a static one runs beside any C library."""
    if linked == "static":
        return f"py3-none-manylinux_2_17_{machine}.musllinux_1_1_{machine}"
    major, minor = linked.removeprefix("glibc-").split(".")
    return f"py3-none-manylinux_{major}_{minor}_{machine}"


def metadata(version):
    head = f"""Metadata-Version: 2.1
Name: supervisor-worker
Version: {version}
Summary: Runs any server once per core behind one address; with the client for Python
License: MIT OR Apache-2.0
Requires-Python: >=3.9
License-File: LICENSE-MIT
License-File: LICENSE-APACHE
Description-Content-Type: text/markdown

"""
    return head.encode() + Path("packaging/README.wheel.md").read_bytes()


def wheel_file(tags):
    python, abi, platforms = tags.split("-")
    lines = ["Wheel-Version: 1.0", "Generator: supervisor", "Root-Is-Purelib: false"]
    lines += [f"Tag: {python}-{abi}-{platform}" for platform in platforms.split(".")]
    return ("\n".join(lines) + "\n").encode()


def contents(program, version, tags):
    """Every file: its name, its mode, its bytes."""
    client = Path("worker/python") / NAME
    for path in sorted(client.glob("*.py")):
        yield f"{NAME}/{path.name}", 0o644, path.read_bytes()
    yield f"{NAME}-{version}.data/scripts/supervisor", 0o755, Path(program).read_bytes()
    info = f"{NAME}-{version}.dist-info"
    yield f"{info}/METADATA", 0o644, metadata(version)
    yield f"{info}/WHEEL", 0o644, wheel_file(tags)
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"]:
        yield f"{info}/licenses/{licence}", 0o644, Path(licence).read_bytes()


def main(program, version, machine, linked, output):
    tags = tag(machine, linked)
    path = Path(output) / f"{NAME}-{version}-{tags}.whl"
    # A zip file cannot hold an earlier time than 1980.
    when = time.gmtime(max(int(os.environ["SOURCE_DATE_EPOCH"]), 315532800))[:6]
    record = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:

        def add(name, mode, content):
            entry = zipfile.ZipInfo(name, when)
            entry.external_attr = (0o100000 | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            wheel.writestr(entry, content)

        for name, mode, content in contents(program, version, tags):
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            record.append(f"{name},sha256={digest.decode()},{len(content)}\n")
            add(name, mode, content)
        name = f"{NAME}-{version}.dist-info/RECORD"
        add(name, 0o644, ("".join(record) + f"{name},,\n").encode())
    print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
