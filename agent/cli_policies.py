"""``perdure policies``: the policy versions of a home and where they come from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli_common import existing_home, out, out_facts, out_json, out_table, shown
from agent.cli_options import HomeOption, JsonOption

if TYPE_CHECKING:
    from persistence.store import Store

app = typer.Typer(help="Policy versions of a home, and where they come from.", no_args_is_help=True)


@app.command("list")
def list_(home: HomeOption = None, json_: JsonOption = False) -> None:
    """List the stored policy versions, oldest first; one is stored with each checkpoint."""
    from agent.lineage import SHORT, stored_policies

    with open_books(existing_home(home)) as store:
        rows = stored_policies(store)
        deployed = store.rows("SELECT skill, policy_version FROM v_deployed ORDER BY skill")
    for row in rows:
        row["deployed"] = [each["skill"] for each in deployed if each["policy_version"] == row["version"]]
    if json_:
        out_json(rows)
        return
    columns = ("version", "parent", "hour", "begun", "updates", "attempts", "run_id", "perdure", "deployed")
    cells = [[*(row[column] for column in columns), row["learner_sha256"][:SHORT]] for row in rows]
    out_table((*columns, "learner"), cells)


@app.command()
def show(
    version: Annotated[int, typer.Argument(metavar="VERSION", help="As `perdure policies list` shows.", min=0)],
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Show the lineage of a policy version: parents, data, code, configuration, and what came of it."""
    from agent.lineage import begun, policy_facts

    with open_books(existing_home(home)) as store:
        facts = policy_facts(store, version)
    if json_:
        out_json(facts)
        return
    ancestors = facts.pop("ancestors")
    tables = {name: facts.pop(name) for name in ("attempts_made", "evaluations")}
    facts["parents"] |= {"origin": begun(facts["parents"]["origin"])}
    facts["code"].pop("packages")
    out_facts(facts)
    for row in ancestors:
        how = f", begun with {row['begun']}" if row["begun"] else ""
        out(f"learned on from {row['version']}: {shown(row['attempts'])} attempts, {row['updates']} updates{how}")
    for name, rows in tables.items():
        if rows:
            out(f"\n{name.replace('_', ' ')}:")
            out_table(list(rows[0]), (list(row.values()) for row in rows))


@app.command()
def deployments(
    skill: Annotated[str | None, typer.Argument(metavar="SKILL", help="Only of one skill.")] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """List promotions and roll-backs, oldest first; the last of each skill is in force."""
    import json

    where, of = ("WHERE skill = ?", (skill,)) if skill is not None else ("", ())
    with open_books(existing_home(home)) as store:
        rows = store.rows(f"SELECT * FROM deployments {where} ORDER BY id", of)
    for row in rows:
        row["evaluations"] = json.loads(row["evaluations"])
    if json_:
        out_json(rows)
        return
    columns = ("id", "skill", "action", "policy_version", "before_version", "operator", "evaluations", "reason")
    out_table(columns, ([row[column] for column in columns] for row in rows))


def open_books(home: Path) -> Store:
    """The books of a home for reading, brought to this version's schema first where no daemon uses them.

    Raises:
        PersistenceError: there are none, or a daemon of an older version uses them.
    """
    from persistence.connection import SCHEMA_VERSION
    from persistence.home import Home, HomeLock
    from persistence.store import Store

    paths = Home(home)
    store = Store.open(paths.db, read_only=True)
    if store.connection.execute("PRAGMA user_version").fetchone()[0] < SCHEMA_VERSION:
        store.close()
        with HomeLock(paths):
            Store.open(paths.db).close()
        store = Store.open(paths.db, read_only=True)
    return store
