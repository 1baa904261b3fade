# SPDX-License-Identifier: MIT
"""aims: what a run of the benchmark must show, as rows of bounds, and a table of what it showed.

A row names a measure, a system, and a figure of it: one of the columns, `ratio` (to direct, or what the measure names), or for
another system X of the same measure `ratio to X` or `COLUMN to X`, by medians. A row whose system is absent, or was not asked
for, says so and counts as neither."""

AT_LEAST, AT_MOST = "at least", "at most"

ROWS = [
    ("up-1", "adit-1500", "ratio", AT_LEAST, 0.60),
    ("down-1", "adit-1500", "ratio", AT_LEAST, 0.60),
    ("up-1", "adit-1500", "CPU s/GB", AT_MOST, 0.33),
    ("down-1", "adit-1500", "CPU s/GB", AT_MOST, 0.35),
    ("calls-up", "adit-1500", "calls/MB", AT_MOST, 45),
    ("calls-down", "adit-1500", "calls/MB", AT_MOST, 40),
    ("up-8", "adit-1500", "ratio", AT_LEAST, 0.50),
    ("down-8", "adit-1500", "ratio", AT_LEAST, 0.50),
    ("up-1", "adit-system-bpf", "ratio", AT_LEAST, 0.75),
    ("down-1", "adit-system-bpf", "ratio", AT_LEAST, 0.75),
    ("up-1", "adit-system-bpf", "all CPU s/GB to relay-lo", AT_MOST, 1.35),
    ("down-1", "adit-system-bpf", "all CPU s/GB to relay-lo", AT_MOST, 1.35),
    ("up-1", "adit-system-nat", "all CPU s/GB to relay-lo", AT_MOST, 2.1),
    ("down-1", "adit-system-nat", "all CPU s/GB to relay-lo", AT_MOST, 2.1),
    ("crr-16", "adit-system-bpf", "ratio to relay-lo", AT_LEAST, 0.70),
    ("crr-16", "adit-1500", "ratio", AT_LEAST, 0.55),
    ("crr-16", "adit-1500", "1/s", AT_LEAST, 11000),
    ("crr-16", "adit-1500", "CPU us", AT_MOST, 60),
    ("crr-1", "adit-1500", "ratio", AT_MOST, 2.0),
    ("rr-1", "adit-1500", "ratio", AT_MOST, 1.45),
    ("rr-1", "adit-1500", "ratio to pasta-65520", AT_MOST, 1.0),
    ("rr-1", "adit-1500", "ratio to slirp4netns-65520", AT_MOST, 1.0),
    ("rr-64", "adit-1500", "ratio", AT_LEAST, 0.45),
    ("udp-up-64", "adit-1500", "ratio", AT_LEAST, 0.70),
    ("udp-down-64", "adit-1500", "ratio", AT_LEAST, 0.70),
    ("udp-up-gso", "adit-1500", "ratio", AT_LEAST, 0.60),
    ("udp-down-gso", "adit-1500", "ratio", AT_LEAST, 0.60),
    ("up-1", "adit-plain-loss-1%", "ratio to adit-plain-1500", AT_LEAST, 0.60),
    ("down-1", "adit-plain-loss-1%", "ratio to adit-plain-1500", AT_LEAST, 0.60),
    ("up-1", "adit-plain-loss-1%", "Gbit/s", AT_LEAST, 1),
    ("down-1", "adit-plain-loss-1%", "Gbit/s", AT_LEAST, 1),
    ("idle-100000", "adit-discard", "with them MB", AT_MOST, 40),
    ("start", "adit-1500", "anonymous kB", AT_MOST, 1000),
    ("wakeups-0", "adit-1500", "wake-ups in 10 s", AT_MOST, 0),
    ("wakeups-1000", "adit-1500", "wake-ups in 10 s", AT_MOST, 0),
    ("stalled-10000", "adit-1500", "4 s after, MB more than before", AT_MOST, 2),
    ("workers-up-1", "adit-workers-2", "ratio", AT_LEAST, 0.95),
    ("workers-down-1", "adit-workers-2", "ratio", AT_LEAST, 0.95),
    ("workers-rr-1", "adit-workers-2", "ratio", AT_MOST, 1.05),
]


def figure_of(rows, system, figure, key):
    row = rows.get(system)
    if not row or not row["rounds"]:
        return None
    if figure == "ratio":
        return row["ratio"]
    column, to, other = figure.partition(" to ")
    if to:
        column = key if column == "ratio" else column
        theirs = figure_of(rows, other, column, key)
        mine = row["figures"].get(column, [None])[0]
        return mine / theirs if mine and theirs else None
    return row["figures"].get(figure, [None])[0]


def table(summary, measures):
    """Markdown; the rows of measures that were not run are left out."""
    lines = ["| | | aim | seen | |", "|---|---|---|---|---|"]
    for measure, system, figure, sense, bound in ROWS:
        if measure not in summary or system not in summary[measure]:
            continue
        seen = figure_of(summary[measure], system, figure, measures[measure].key)
        if seen is None:
            verdict, text = "not measured", "-"
        else:
            reached = seen >= bound if sense == AT_LEAST else seen <= bound
            verdict, text = "reached" if reached else "**missed**", f"{seen:,.3g}" if seen < 1000 else f"{seen:,.0f}"
        lines.append(f"| {measure} {system} | {figure} | {sense} {bound:,} | {text} | {verdict} |")
    return "\n".join(lines) + "\n"
