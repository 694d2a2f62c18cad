"""Output of the tasks: results to stdout, everything else to stderr; emoji and live lines only on capable terminals."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping


_CLEAR_LINE = "\r\x1b[2K"
_RED, _RESET_COLOUR = "\x1b[31m", "\x1b[0m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """The two streams and what they can show: `emoji` on stdout, `live_lines` and `colour` on stderr.

    A stream that is closed by its reader raises no error: a migration must not stop because its output is not read.
    """

    out: TextIO
    err: TextIO
    emoji: bool
    live_lines: bool
    colour: bool

    def print_result(self, text: str) -> None:
        """Print a line of the result."""
        self.show_progress("")
        _write_stream(self.out, f"{text}\n")

    def print_line(self, text: str) -> None:
        """Print a line that is not the result."""
        self.show_progress("")
        _write_stream(self.err, f"{text}\n")

    def print_error(self, text: str) -> None:
        """Print an error, its first line in red on a terminal with colours."""
        first, _, rest = text.partition("\n")
        self.print_line((f"{_RED}{first}{_RESET_COLOUR}" if self.colour else first) + (f"\n{rest}" if rest else ""))

    def show_progress(self, text: str) -> None:
        """Show a line that the next line replaces; only on a terminal."""
        if self.live_lines:
            _write_stream(self.err, _CLEAR_LINE + text[: _terminal_columns() - 1])


def open_console(environ: Mapping[str, str], out: TextIO | None = None, err: TextIO | None = None) -> Console:
    """The console of this process, as NO_COLOR and TERM say (https://no-color.org)."""
    # Python has None for a stream that was closed before the process started.
    out, err = out or sys.stdout or StringIO(), err or sys.stderr or StringIO()
    limited = environ.get("TERM") in ("dumb", "linux")
    terminal = err.isatty() and not limited
    return Console(
        out=out,
        err=err,
        emoji=_can_encode(out, "📊✅⏳") and not (out.isatty() and limited),
        live_lines=terminal,
        colour=terminal and not environ.get("NO_COLOR"),
    )


def _can_encode(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _write_stream(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        # Otherwise Python reports the error again when it flushes the stream at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if stream is sys.stdout and not isinstance(error, BrokenPipeError):
            _write_stream(sys.stderr, f"warning: the output cannot be written: {error.strerror}\n")
    except UnicodeEncodeError:
        stream.write(text.encode(stream.encoding, errors="replace").decode(stream.encoding))


def _terminal_columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        return 80
