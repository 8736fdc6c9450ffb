"""``perdure doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.cli_common import CliError, existing_home, out, out_facts, out_json, resolve_home
from agent.cli_options import HomeOption, JsonOption


def doctor(
    home: HomeOption = None,
    store: Annotated[bool, typer.Option("--store", help="Verify the store alone: every event, row and index.")] = False,
    json_: JsonOption = False,
) -> int:
    """Check machine, versions, permissions, disk and clock; with --store, the stored data."""
    from agent.doctor import Outcome, examine, store_facts

    if store:
        facts = store_facts(existing_home(home))
        if json_:
            out_json(facts)
        else:
            out_facts(facts)
        return 0 if facts["ok"] else 1
    where = resolve_home(home)
    findings = examine(where)
    ok = all(finding.outcome != Outcome.FAIL for finding in findings)
    if json_:
        checks = [{"name": f.name, "outcome": f.outcome.value, "text": f.text} for f in findings]
        out_json({"ok": ok, "home": str(where), "checks": checks})
        return 0 if ok else 1
    for finding in findings:
        out(f"{finding.outcome.value:<4}  {finding.name:<10}  {finding.text}")
    if not ok:
        failed = ", ".join(f.name for f in findings if f.outcome == Outcome.FAIL)
        raise CliError(f"failed: {failed}")
    return 0
