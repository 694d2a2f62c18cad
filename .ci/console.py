"""Run the commands of a document's console blocks, and write into it what they print.

    python .ci/console.py docs/tour.md [docs/troubleshooting.md ...]

A block ```console has commands after "$ ", their further lines after "> ", and the output. A comment that begins with
`<!-- run:` has commands that prepare the next block; what they print is dropped. All commands of a document run in one
bash, in a new git repository with tasks.py and the migrations of this checkout, with `inv` and PostgreSQL's programs.

Times, sizes, versions and places differ from run to run: a block that is the same but for them stays as it is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```console\n(?P<shown>.*?)^```$|^<!-- run:(?P<hidden>.*?)-->$", re.DOTALL | re.MULTILINE)
MARK = "\N{SECTION SIGN}"
SECONDS = 600
# What a reader would have in place of the scratch folder and of the socket of the embedded server.
PLACES = (
    (re.compile(r'"/(?:tmp|dev/shm)/aibos-kernel-\w+/\.s'), '"/var/run/postgresql/.s'),
    (re.compile(r"/(?:tmp|dev/shm)/aibos-kernel-\w+:5432/"), "localhost:5432/"),
    (
        re.compile(r"postgresql:///kernel\?host=%2Ftmp%2Faibos-kernel-\w+&port=5432&user=postgres"),
        "postgresql://localhost/kernel",
    ),
    (re.compile(r"\((PostgreSQL (\d+)[.\d]*), [^()]*\)"), r"(\1, installed in /usr/lib/postgresql/\2/bin)"),
)
VARIABLE = (
    (re.compile(r"^note: pg_restore .*\n", re.MULTILINE), ""),  # of a version with a known fault
    (re.compile(r"^traffic .*\n(?: {11}.*\n)*", re.MULTILINE), ""),  # how many sessions waited
    (re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d:\d\dZ?)?"), "DATE"),
    (re.compile(r"\d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"\b[0-9a-f]{10,40}\b"), "COMMIT"),
    (re.compile(r"\bpid \d+|(?<=terminate_backend\()\d+"), "pid N"),
    (re.compile(r"PostgreSQL \d+(?:\.\d+)?"), "PostgreSQL N"),
    (re.compile(r"/postgresql/\d+/"), "/postgresql/N/"),
    (re.compile(r"(?<![\w.])-?\d[\d.,]*\s(?:ms|s|min|bytes|[kMG]?B)\b"), "QUANTITY"),
    (re.compile(r"\s+"), " "),  # the widths of columns and the ends of lines follow the figures in them
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command of a document: its lines there, and the text for bash. `shown` is whether its output is."""

    lines: str
    script: str
    shown: bool


def commands_of(document: str) -> list[Command]:
    """The commands of all blocks, in order."""
    found = []
    for block in BLOCK.finditer(document):
        if block["hidden"] is not None:
            found.append(Command(lines="", script=block["hidden"].strip(), shown=False))
            continue
        for command in re.findall(r"^\$ .*\n(?:^> ?.*\n)*", block["shown"], re.MULTILINE):
            script = "\n".join(line[2:] for line in command.splitlines())
            found.append(Command(lines=command, script=script, shown=True))
    return found


def run_commands(commands: list[Command], folder: Path) -> list[str]:
    """What each command prints, stdout and stderr together."""
    script = "".join(f"echo '{MARK}'\n{command.script}\n" for command in commands)
    scripts = folder.parent / "commands.sh"
    scripts.write_text(f"exec 2>&1 </dev/null\n{script}", encoding="utf-8")
    done = subprocess.run(
        ["bash", str(scripts)],
        cwd=folder,
        env=environment(folder.parent),
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    _before, *outputs = done.stdout.split(f"{MARK}\n")
    if len(outputs) != len(commands):
        raise SystemExit(f"{len(outputs)} of {len(commands)} commands ran:\n{done.stdout}\n{done.stderr}")
    return [readable(output, folder) for output in outputs]


def environment(home: Path) -> dict[str, str]:
    """An environment of its own, with a git that knows no user's settings."""
    from kernel.postgres.programs import find_programs  # noqa: PLC0415 - after the path is set

    bindir = os.environ.get("KERNEL_PG_BINDIR")
    programs = find_programs(Path(bindir) if bindir else None)
    path = os.pathsep.join([str(Path(sys.executable).parent), str(programs.bin), "/usr/local/bin", "/usr/bin", "/bin"])
    identity = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in IDENTITY.items()}
    chosen = {"KERNEL_PG_BINDIR": bindir} if bindir else {}
    return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "TZ": "UTC", **identity, **chosen}


IDENTITY = {"NAME": "Ada", "EMAIL": "ada@example.com", "DATE": "2026-03-02T10:00:00Z"}


def readable(output: str, folder: Path) -> str:
    """The output with the places that a reader would have."""
    output = output.replace(str(folder), "/home/ada/kernel")
    for pattern, place in PLACES:
        output = pattern.sub(place, output)
    return "".join(f"{line.rstrip()}\n" for line in output.splitlines())


def comparable(text: str) -> str:
    """The text without what differs from run to run."""
    for pattern, replacement in VARIABLE:
        text = pattern.sub(replacement, text)
    return text


def with_outputs(document: str, commands: list[Command], outputs: list[str]) -> str:
    """The document with the outputs in its blocks."""
    remaining = iter(zip(commands, outputs, strict=True))

    def fill(block: re.Match[str]) -> str:
        if block["hidden"] is not None:
            next(remaining)
            return block[0]
        count = len(re.findall(r"^\$ ", block["shown"], re.MULTILINE))
        text = "".join(command.lines + output for command, output in (next(remaining) for _ in range(count)))
        return block[0] if comparable(text) == comparable(block["shown"]) else f"```console\n{text}```"

    return BLOCK.sub(fill, document)


def prepare(folder: Path) -> None:
    """A checkout as a newcomer has it: the tasks, the migrations, and a first commit."""
    folder.mkdir()
    shutil.copy(PROJECT / "tasks.py", folder)
    shutil.copytree(PROJECT / "migrations", folder / "migrations", ignore=shutil.ignore_patterns("*.md"))
    (folder / ".gitignore").write_text(".kernel/\n__pycache__/\n", encoding="utf-8")
    for arguments in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "The Kernel's schema"]):
        subprocess.run(["git", *arguments], cwd=folder, env=environment(folder.parent), check=True)


def refresh(path: Path) -> bool:
    """Run a document and write it; returns whether anything but what differs from run to run has changed."""
    document = path.read_text(encoding="utf-8")
    commands = commands_of(document)
    with tempfile.TemporaryDirectory(prefix="console-", dir="/tmp") as scratch:
        Path(scratch).chmod(0o755)  # the account of the embedded server has to enter it
        folder = Path(scratch) / "kernel"
        prepare(folder)
        try:
            outputs = run_commands(commands, folder)
        finally:
            stop = [sys.executable, "-m", "invoke", "db.stop"]
            subprocess.run(stop, cwd=folder, env=environment(Path(scratch)), capture_output=True, check=False)
    text = with_outputs(document, commands, outputs)
    path.write_text(text, encoding="utf-8")
    return text != document


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))
    for name in sys.argv[1:]:
        print(f"{name}: {'written' if refresh(Path(name)) else 'as it was'}")
