#!/usr/bin/env python3
"""Keeps the account of helm/test/on-kubernetes, in its working directory.

    summary.py race DIR STEP WHAT      the verdict of the race in DIR/race.json, as that of the step
    summary.py step DIR STEP SECONDS LINE   the step is over; LINE: lines of DIR/budget before it began
    summary.py print DIR table|json IMAGE IMAGE-ID COMMIT VERSION
"""
import datetime
import json
import pathlib
import sys


def race(work, step, what):
    """Judges: nothing signed twice, and something signed at all. Adds to what earlier races of the step say."""
    verdict = json.loads((work / "race.json").read_text())
    assert not verdict["violations"] and verdict["signed"] > 0, verdict
    kept = {
        "what": what,
        "signed": verdict["signed"],
        "signedTwice": len(verdict["violations"]),
        "repeated": verdict["repeated"],
        "refused": sum(verdict["refused"].values()),
        "unanswered": sum(verdict["unanswered"].values()),
        "longestOutageMs": verdict["longestOutageMs"],
    }
    path = work / f"{step}.race"
    path.write_text(json.dumps(joined(json.loads(path.read_text()), kept) if path.exists() else kept))
    print(f"          {what}: {kept['signed']} signed, {kept['repeated']} repeated, {kept['refused']} refused, "
          f"{kept['unanswered']} unanswered, 0 twice; longest outage {kept['longestOutageMs']} ms")


def joined(before, now):
    """Of two races of one step: what they signed together, and the longer of their outages."""
    sums = {key: before[key] + now[key] for key in ("signed", "signedTwice", "repeated", "refused", "unanswered")}
    return {**now, **sums, "longestOutageMs": max(before["longestOutageMs"], now["longestOutageMs"])}


def budget(work, name, line):
    """Of the signers that there were when the step began, how many were ready at least. Where pods are evicted, one may be
    away; elsewhere a probe that a busy machine answers too late counts too, and only the figure is told."""
    lines = [[int(word) for word in text.split()] for text in (work / "budget").read_text().splitlines()]
    lines = [words for words in lines[max(line - 1, 0):] if len(words) == 2]
    if not lines:
        return None
    of, lowest = lines[0][1], min(healthy for healthy, _ in lines)
    found = {"of": of, "lowest": lowest}
    if name in ("drain", "upgrade", "away"):
        found["verdict"] = "kept" if lowest >= of - 1 else "BROKEN"
    return found


def step(work, name, seconds, line):
    def read(kind):
        path = work / f"{name}.{kind}"
        return path.read_text() if path.exists() else ""

    verdict = json.loads(read("race") or "{}")
    skipped = read("skipped")
    words = [verdict.pop("what", ""), read("said"), f"SKIPPED: {skipped}" if skipped else ""]
    record = {"step": name, "what": "; ".join(filter(None, words)), "seconds": int(seconds), **verdict}
    if skipped:
        record["skipped"] = skipped
    if verdict:
        record["budget"] = budget(work, name, int(line))
    with open(work / "steps", "a") as file:
        file.write(json.dumps(record) + "\n")
    if (record.get("budget") or {}).get("verdict") == "BROKEN":
        sys.exit(f"the disruption budget was broken: {record['budget']}")


def show(work, form, image, image_id, commit, version):
    steps = [json.loads(line) for line in (work / "steps").read_text().splitlines()]
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    if form == "json":
        head = {"date": date, "commit": commit, "image": image, "imageId": image_id, "kubernetes": version}
        print(json.dumps({**head, "steps": steps}, indent=1))
        return
    print(f"\n{date}, commit {commit}, image {image} {image_id}, Kubernetes {version}\n")
    print("| step | what happened | signed | twice | longest outage | signers ready, at least | took |")
    print("|---|---|---:|---:|---:|---|---:|")
    for s in steps:
        cells = [s["step"], s["what"], "", "", "", "", f"{s['seconds']} s"]
        if "signed" in s:
            cells[2:5] = [f"{s['signed']:,}", str(s["signedTwice"]), f"{s['longestOutageMs'] / 1000:.1f} s"]
        if s.get("budget"):
            found = s["budget"]
            cells[5] = f"{found['lowest']} of {found['of']}" + (f", budget {found['verdict']}" if "verdict" in found else "")
        print("| " + " | ".join(cells) + " |")


{"race": race, "step": step, "print": show}[sys.argv[1]](pathlib.Path(sys.argv[2]), *sys.argv[3:])
