"""The table of docs/clients.md, from what the suites wrote of themselves: `table.py check|write RESULTS...`.

`check` fails where the document says something else than the run has shown, so that it can't lie; of clients whose suite didn't run
here it says nothing. `write` puts the run's results in. A call that failed stands as a failure in either.
"""

import json
import pathlib
import sys

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs/clients.md"
BEGIN, END = "<!-- written by tests/clients/run write -->\n", "<!-- until here -->\n"
MARKS = {"passed": "✓", "not offered": "–", "failed": "✗"}


def sections(results):
    """Each client's part of the document, by its name."""
    clients = {}
    for row in results:
        calls = clients.setdefault(row["client"], {})
        calls.setdefault(row["call"], {}).setdefault(row["target"], []).append(row)
    return {client: section(client, calls) for client, calls in clients.items()}


def section(client, calls):
    targets = list(dict.fromkeys(target for row in calls.values() for target in row))
    lines, notes = [f"### {client}", "", f"| call | {' | '.join(targets)} |", f"|---|{':-:|' * len(targets)}"], []
    for call, row in calls.items():
        marks = [mark(row.get(target, []), notes) for target in targets]
        lines.append(f"| {call} | {' | '.join(marks)} |")
    return "\n".join([*lines, "", *(f"{at}. {note}" for at, note in enumerate(notes, 1)), *([""] if notes else [])])


def mark(rows, notes):
    """The worst of what was seen of one call, with its notes' numbers."""
    worst = next((result for result in ("failed", "not offered", "passed") if any(row["result"] == result for row in rows)), None)
    numbers = []
    for note in dict.fromkeys(row["note"] for row in rows if row.get("note")):
        if note not in notes:
            notes.append(note)
        numbers.append(str(notes.index(note) + 1))
    return MARKS.get(worst, " ") + (f" ({', '.join(numbers)})" if numbers else "")


def split(document):
    """What stands before the table, its sections by client, and what stands behind it."""
    head, rest = document.split(BEGIN)
    body, tail = rest.split(END)
    parts = [part for part in body.split("### ") if part.strip()]
    return head, {part.split("\n", 1)[0]: f"### {part}".rstrip("\n") + "\n" for part in parts}, tail


def main(action, *files):
    results = [json.loads(line) for file in files for line in pathlib.Path(file).read_text().splitlines()]
    found = sections(results)
    head, told, tail = split(DOCUMENT.read_text())
    unlike = [client for client, text in found.items() if told.get(client) != text.rstrip("\n") + "\n"]
    if action == "write":
        whole = dict(sorted((told | found).items(), key=lambda part: part[0].lower()))
        DOCUMENT.write_text(head + BEGIN + "\n" + "\n".join(text.rstrip("\n") + "\n" for text in whole.values()) + END + tail)
    elif unlike:
        for client in unlike:
            print(f"docs/clients.md doesn't say what this run has shown of {client}:", found[client], sep="\n\n")
        sys.exit("docs/clients.md isn't true: `tests/clients/run write` makes it so")
    counts = {result: sum(row["result"] == result for row in results) for result in MARKS}
    print(f"  table: {counts['passed']} passed, {counts['failed']} failed, {counts['not offered']} not offered, of {len(found)} clients")


main(*sys.argv[1:])
