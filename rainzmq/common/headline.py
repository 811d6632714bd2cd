"""One line of an error, for lists."""

from __future__ import annotations

_LONGEST_LINE = 300


def headline(text: str) -> str:
    """The line of an error that says most: the first, or of a traceback that of the (last) exception. Of a
    program, how it ended and the last that it wrote.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return "no reason was given"
    line = lines[0].strip()
    if line.startswith("Traceback ("):
        last = max(at for at, item in enumerate(lines) if item.strip().startswith("Traceback ("))
        # What was called is indented; messages may go on in further lines.
        said = [item for item in lines[last + 1 :] if not item[0].isspace()]
        line = said[0] if said else lines[-1].strip()
    elif len(lines) > 2 and lines[1].startswith(("Standard output", "Standard error")):
        line = f"{line}: {lines[-1].strip()}"
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 3] + "..."
