"""`python -m windlass.lab.observer --lab DIR --home WINDLASS_HOME`: exit code 1 when something is violated."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from windlass.lab.observer import INVARIANTS, observe
from windlass.lab.observer.reading import read


def main(argv: list[str] | None = None) -> int:
    """Judge a lab and a journal once."""
    parser = argparse.ArgumentParser(prog="python -m windlass.lab.observer", description=__doc__)
    parser.add_argument("--lab", type=Path, required=True, help="the folder of the lab")
    parser.add_argument(
        "--home", type=Path, required=True, help="the WINDLASS_HOME that acted on it"
    )
    parser.add_argument("--witness", type=Path, help="JSON lines of records that were acknowledged")
    parser.add_argument("--grace", type=float, default=5.0, help="seconds from a freeze to I14")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds without an end to I8")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    evidence = read(args.lab, args.home, args.witness, grace=args.grace, patience=args.patience)
    violations = observe(evidence)
    if args.json:
        said = {
            "invariants": INVARIANTS,
            "events": len(evidence.events),
            "records": len(evidence.records),
            "violations": [asdict(violation) for violation in violations],
            "unjudged": evidence.notes,
        }
        print(json.dumps(said, indent=2))
    else:
        for line in (*violations, *(f"not judged: {note}" for note in evidence.notes)):
            print(line)
        print(
            f"{len(evidence.events)} events, {len(evidence.records)} records: {len(violations)} violations of "
            f"{len(INVARIANTS)} invariants"
        )
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
