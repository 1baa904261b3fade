# SPDX-License-Identifier: MIT
"""report: the results of bench/run as tables (Markdown), JSON, and a plot (SVG)."""
import html
import json
import os

import aims

PLOTTED = ("adit-1500", "adit-65535", "adit-system-nat", "adit-system-bpf", "pasta-1500", "pasta-65520", "slirp4netns-65520")
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def number(x):
    if x == 0:
        return "0"
    if abs(x) >= 1000:
        return f"{x:,.0f}"
    return f"{x:.3g}"


def cell(values):
    median, least, most = values
    if least == most:
        return number(median)
    return f"{number(median)} ({number(least)}-{number(most)})"


def table(measure, reference, rows):
    columns = next((list(r["figures"]) for r in rows.values() if r["figures"]), [])
    lines = [f"**{measure}**", "", f"| | ratio to {reference} | " + " | ".join(columns) + " | n |",
             "|---" * (len(columns) + 3) + "|"]
    for system, row in rows.items():
        ratio = f"{row['ratio']:.2f}" if row["ratio"] is not None else "-"
        if not row["figures"]:
            lines.append(f"| {system} | - | {row['absent'] or 'failed: ' + row['error']} |" + " |" * len(columns))
            continue
        cells = [cell(row["figures"][c]) for c in columns]
        lines.append(f"| {system} | {ratio} | " + " | ".join(cells) + f" | {row['rounds']} |")
    return "\n".join(lines) + "\n"


def tables(saved, measures):
    m = saved["machine"]
    head = (f"{m['cpu']}, {m['cpus']} CPUs, Linux {m['kernel']}; load average at the end {m['load']:.1f}. {m['adit']}, commit "
            f"{m['commit']} ({m['built']}); {m['pasta'] or 'no pasta'}; {m['slirp4netns'] or 'no slirp4netns'}.\n"
            f"{saved['rounds']} interleaved rounds of {saved['seconds']} s"
            f"{', all of the benchmark SCHED_FIFO' if m['realtime'] else ''}. Median (least-most).\n")
    rows = [table(name, measure.reference, saved["summary"][name]) for name, measure in measures.items()
            if name in saved["summary"]]
    return head + "\n**What was aimed at**\n\n" + aims.table(saved["summary"], measures) + "\n" + "\n".join(rows)


def write_json(path, saved):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(saved, f, indent=1)
        f.write("\n")


def plot(saved, measures):
    """Bars: for each measure and system, how near it comes to direct (1 is as good; a longer bar is better)."""
    bars = []
    for name, measure in measures.items():
        if measure.reference != "direct":
            continue
        rows = saved["summary"].get(name, {})
        group = [(s, r["ratio"] if measure.more_is_better else 1 / r["ratio"])
                 for s, r in rows.items() if s in PLOTTED and r["ratio"]]
        if group:
            bars.append((name, group))
    colours = {"adit": "#1b6ca8", "pasta": "#c28f2c", "slirp4netns": "#8c8c8c"}
    parts, y, width = [], 30, 420
    for name, group in bars:
        parts.append(f'<text x="8" y="{y + 11}" font-weight="bold">{html.escape(name)}</text>')
        for system, value in group:
            length = min(value, 1.2) / 1.2 * width
            colour = colours[system.split("-")[0]]
            parts.append(f'<text x="110" y="{y + 11}">{html.escape(system)}</text>')
            parts.append(f'<rect x="230" y="{y + 2}" width="{length:.1f}" height="11" fill="{colour}"/>')
            parts.append(f'<text x="{230 + length + 4:.1f}" y="{y + 11}">{value:.2f}</text>')
            y += 15
        y += 8
    one = 230 + width / 1.2
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="720" height="{y + 10}" font-family="sans-serif" font-size="11">\n'
            f'<!-- SPDX-License-Identifier: MIT -->\n<rect width="720" height="{y + 10}" fill="white"/>\n'
            f'<text x="8" y="18">How near to direct (line: as good as direct); latencies inverted: longer is better</text>\n'
            f'<line x1="{one:.1f}" y1="24" x2="{one:.1f}" y2="{y}" stroke="#aa3333"/>\n')
    return head + "\n".join(parts) + "\n</svg>\n"


def write_docs(directory, saved, measures):
    page = os.path.join(directory, "performance.md")
    with open(page, encoding="utf-8") as f:
        text = f.read()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    with open(page, "w", encoding="utf-8") as f:
        f.write(before + BEGIN + "\n\n" + tables(saved, measures) + "\n" + END + after)
    write_json(os.path.join(directory, "performance.json"), saved)
    with open(os.path.join(directory, "performance.svg"), "w", encoding="utf-8") as f:
        f.write(plot(saved, measures))
