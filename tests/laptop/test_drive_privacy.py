"""A whole drive keeps to itself what is nobody's business: keys, tokens, values, positions."""

import json


def strings(value):
    if isinstance(value, dict):
        return [text for part in value.values() for text in strings(part)]
    return [value] if isinstance(value, str) else []


def positions(drive):
    """Where the car was, and how far it had been, as numbers are most often written."""
    found = set()
    for batch in drive.batches():
        samples, at = batch.samples, 0
        for group, width, count in zip(samples.group, samples.width, samples.count, strict=True):
            for signal in samples.groups[group].signals[:width]:
                if signal.name in ("Latitude", "Longitude", "Odometer"):
                    raw = samples.values[at : at + count]
                    found |= {f"{value:.4f}" for value in signal.physical(raw).tolist()}
                    found |= {str(value) for value in raw.tolist()}
                at += count
    return found


def test_nothing_that_a_drive_writes_tells_a_key_a_token_or_where_the_car_was(start_drive):
    drive = start_drive("--interface", "unix", "--seconds", "5")
    drive.succeeds()
    keys = json.loads((drive.folder / "hub" / "keys.json").read_text())
    private = [text for text in strings(keys) if len(text) > 20]
    assert private
    private += ["SharedAccessSignature", "sig=", *positions(drive)]
    assert len(private) > 10
    logs = {path.name: path.read_text() for path in drive.folder.glob("*.log")}
    assert {"hub.log", "telemetry.log", "vehicle.log"} <= logs.keys()
    written = logs | {
        "out": drive.out,
        "err": drive.err,
        "report": json.dumps(drive.report),
        "index": (drive.folder / "hub" / "upstream" / "index.jsonl").read_text(),
    }
    told = [(name, text) for name, page in written.items() for text in private if text in page]
    assert told == []
