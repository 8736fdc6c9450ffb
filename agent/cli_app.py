"""All commands, put together."""

from __future__ import annotations

import typer

from agent import (
    cli_bench,
    cli_drift,
    cli_interventions,
    cli_machine,
    cli_metrics,
    cli_policies,
    cli_promotion,
    cli_rewards,
    cli_run,
    cli_skills,
    cli_tiers,
    cli_why,
)

app = typer.Typer(
    name="perdure",
    help="A daemon that keeps a robot learning for days with no person beside it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(cli_run.run)
app.command("status")(cli_run.status)
app.command("stop")(cli_run.stop)
app.command("estop")(cli_run.estop)
app.command("ack")(cli_run.ack)
app.command("resume")(cli_run.resume)
app.command("metrics")(cli_metrics.metrics)
app.add_typer(cli_interventions.app, name="interventions")
cli_skills.app.command("why")(cli_why.why)
cli_skills.app.command("promote")(cli_promotion.promote)
cli_skills.app.command("roll-back")(cli_promotion.roll_back)
cli_skills.app.command("tier")(cli_tiers.tier)
cli_skills.app.command("reward")(cli_rewards.reward)
cli_skills.app.command("prefer")(cli_rewards.prefer)
app.add_typer(cli_skills.app, name="skills")
app.add_typer(cli_policies.app, name="policies")
app.add_typer(cli_drift.app, name="drift")
app.command("limits")(cli_machine.limits)
app.command("doctor")(cli_machine.doctor)
app.command("bench")(cli_bench.bench)
