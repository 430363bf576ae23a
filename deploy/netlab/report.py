"""What the lab prints: both ends side by side, then what the gateway said about it."""

import os
import shutil
import sys
import textwrap

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}


class Paper:
    """Standard output, with colour when it is a terminal."""

    def __init__(self, stream=sys.stdout):
        self.stream = stream
        self.colour = stream.isatty() and os.environ.get("TERM") != "dumb" and "NO_COLOR" not in os.environ
        self.width = max(96, min(shutil.get_terminal_size((120, 40)).columns, 150))

    def paint(self, text, *styles):
        if not self.colour or not styles:
            return text
        return f"\x1b[{';'.join(_STYLES[style] for style in styles)}m{text}\x1b[0m"

    def say(self, text="", *styles):
        print(self.paint(text, *styles), file=self.stream, flush=True)

    def title(self, text):
        self.say()
        self.say("━" * self.width, "blue")
        self.say(text, "bold")
        self.say("━" * self.width, "blue")

    def step(self, text):
        self.say(f"· {text}", "dim")

    def paragraph(self, text, indent="  "):
        for line in textwrap.wrap(text, self.width - len(indent)):
            self.say(indent + line)

    def scene(self, number, title, text):
        self.say()
        self.say(f"── {number}. {title} " + "─" * max(0, self.width - len(title) - len(str(number)) - 6), "cyan", "bold")
        self.paragraph(text)
        self.say()

    def sides(self, client, server):
        """Two transcripts next to each other; `client` and `server` are lists of (who, text or None, note)."""
        half = (self.width - 7) // 2
        self.say("  " + self.paint("at the client".ljust(half + 3), "bold") + self.paint("at the server", "bold"))
        for row in _fold(align(client, server)):
            if isinstance(row, str):
                self.say("  " + self.paint(row, "dim"))
                continue
            left, right = row
            same = left is not None and right is not None and left[:2] == right[:2]
            style = () if same else ("yellow", "bold") if left and right else ("red",)
            mark = "│" if same else "≠" if left and right else "╳"
            self.say("  " + self._cell(left, half, style) + " " + self.paint(mark, *style) + " " + self._cell(right, half, style))

    def _cell(self, line, width, style):
        if line is None:
            return " " * width
        who, text, note = line
        arrow = "C→" if who == "C" else "←S"
        if text is None:
            words = {"FIN": "closes (FIN)", "RST": "resets (RST)"}[note]
            return arrow + self.paint(f" [{words}]".ljust(width - 2), "dim", *style)
        shown = readable(text) + (f"  [{note}]" if note else "")
        shown = shown if len(shown) <= width - 3 else shown[:width - 4] + "…"
        return arrow + " " + self.paint(shown.ljust(width - 3), *style)

    def facts(self, name, lines):
        """A named list, one below the other; "none" when it is empty."""
        label = f"  {name:<9} "
        for line in lines or ["none"]:
            for part in textwrap.wrap(line, self.width - len(label), break_long_words=True) or [""]:
                self.say(self.paint(label, "bold") + part)
                label = " " * len(label)

    def checks(self, checks):
        for ok, text in checks:
            self.say("  " + (self.paint("✓", "green", "bold") if ok else self.paint("✗", "red", "bold")) + " " + text)


def readable(octets):
    """Octets of a line as text; what is not printable is shown as an escape."""
    return "".join(chr(octet) if 32 <= octet < 127 else f"\\x{octet:02x}" for octet in octets)


def align(left, right):
    """Pairs the lines of two transcripts: equal ones, else same side and length (masked), else alone (None)."""

    def likeness(a, b):
        if a[:2] == b[:2] and (a[1] is not None or a[2] == b[2]):
            return 3
        if a[0] == b[0] and a[1] is not None and b[1] is not None and len(a[1]) == len(b[1]):
            return 2
        return 0

    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i in range(len(left) - 1, -1, -1):
        for j in range(len(right) - 1, -1, -1):
            paired = likeness(left[i], right[j])
            table[i][j] = max(table[i + 1][j], table[i][j + 1], paired + table[i + 1][j + 1] if paired else 0)
    rows, i, j = [], 0, 0
    while i < len(left) or j < len(right):
        paired = likeness(left[i], right[j]) if i < len(left) and j < len(right) else 0
        if paired and table[i][j] == paired + table[i + 1][j + 1]:
            rows.append((left[i], right[j]))
            i, j = i + 1, j + 1
        elif i < len(left) and (j == len(right) or table[i][j] == table[i + 1][j]):
            rows.append((left[i], None))
            i += 1
        else:
            rows.append((None, right[j]))
            j += 1
    return rows


def _fold(rows, keep=3):
    """Replaces the middle of a long run of lines that are equal on both sides by how many they are."""
    folded, run = [], []
    for row in [*rows, None]:
        if row is not None and None not in row and row[0][:2] == row[1][:2] and row[0][1] is not None:
            run.append(row)
            continue
        if len(run) > 2 * keep + 2:
            hidden = run[keep:-keep]
            octets = sum(len(line[0][1]) + 2 for line in hidden)
            folded += [*run[:keep], f"⋮  {len(hidden)} more lines, {octets:,} octets, the same at both ends", *run[-keep:]]
        else:
            folded += run
        run = []
        if row is not None:
            folded.append(row)
    return folded


def describe_event(event):
    """One line about an event: what a reader looks for first, in this order."""
    own = event.get("postern", {})
    words = [event.get("event_type", "?"), own.get("kind", "")]
    for name in ("action", "class", "match", "value", "reply", "reason"):
        if own.get(name) not in (None, ""):
            words.append(f"{name}={own[name]!r}" if isinstance(own[name], str) and " " in own[name] else f"{name}={own[name]}")
    for name in ("smtp", "flow"):
        if isinstance(event.get(name), dict):
            words += [f"{key}={value}" for key, value in event[name].items()]
    return " ".join(word for word in words if word)


#: Counters that move with every frame say nothing about a scene.
_BORING = ("frames", "bytes", "packets", "matcher", "scan", "wakeup", "worker", "ring", "umem", "segments", "burst", "port_",
           "events_total", "syslog_lines")


def describe_growth(growth):
    """Counters that went up, without those of every frame."""
    lines = []
    for name, labels, by in growth:
        if any(word in name for word in _BORING) and labels.get("fate") != "dropped":
            continue
        inside = ",".join(f'{key}="{value}"' for key, value in labels.items() if key not in ("worker",))
        lines.append(f"{name}{{{inside}}} +{by:g}" if inside else f"{name} +{by:g}")
    return lines
