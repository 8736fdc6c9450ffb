"""The SQL of the schema, one constant per migration; a released one never changes."""

INITIAL = """\
-- All *_s columns are seconds of the robot clock, continuous over all runs; *_utc columns are for display only.

CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    robot TEXT NOT NULL,
    speed TEXT NOT NULL,
    seed INTEGER,
    started_s REAL NOT NULL CHECK (started_s >= 0),
    heartbeat_s REAL NOT NULL CHECK (heartbeat_s >= started_s),
    ended_s REAL CHECK (ended_s >= started_s),
    ended TEXT CHECK (ended IN ('stop', 'crash')),
    end_reason TEXT NOT NULL DEFAULT '',
    config TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(config)),
    versions TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(versions)),
    boot_id TEXT NOT NULL DEFAULT '',
    pid INTEGER,
    started_utc TEXT NOT NULL,
    heartbeat_utc TEXT NOT NULL,
    ended_utc TEXT,
    CHECK ((ended IS NULL) = (ended_s IS NULL))
) STRICT;

CREATE TABLE phases (
    id INTEGER PRIMARY KEY,
    run_id INTEGER REFERENCES runs (id),
    name TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    started_s REAL NOT NULL CHECK (started_s >= 0),
    ended_s REAL CHECK (ended_s >= started_s),
    wall_utc TEXT NOT NULL
) STRICT;

CREATE TABLE skills (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('task', 'reset', 'recovery')),
    version TEXT NOT NULL DEFAULT '',
    family TEXT NOT NULL DEFAULT '',
    description TEXT NOT NULL DEFAULT '',
    wall_utc TEXT NOT NULL
) STRICT;

CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    run_id INTEGER NOT NULL REFERENCES runs (id),
    phase_id INTEGER REFERENCES phases (id),
    skill TEXT NOT NULL REFERENCES skills (name),
    state TEXT NOT NULL CHECK (state IN ('started', 'finished')),
    started_s REAL NOT NULL CHECK (started_s >= 0),
    ended_s REAL CHECK (ended_s >= started_s),
    outcome TEXT CHECK (outcome IN ('success', 'timeout', 'fall', 'unsafe', 'fault', 'aborted')),
    end_reason TEXT NOT NULL DEFAULT '',
    evaluation INTEGER NOT NULL DEFAULT 0 CHECK (evaluation IN (0, 1)),
    policy_version INTEGER,
    steps INTEGER NOT NULL DEFAULT 0 CHECK (steps >= 0),
    return REAL,
    measures TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(measures)),
    reward_terms TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(reward_terms)),
    episode_file TEXT,
    episode_sha256 TEXT,
    wall_utc TEXT NOT NULL,
    CHECK ((state = 'finished') = (outcome IS NOT NULL AND ended_s IS NOT NULL)),
    CHECK ((episode_file IS NULL) = (episode_sha256 IS NULL))
) STRICT;
CREATE INDEX attempts_skill ON attempts (skill, started_s);
CREATE INDEX attempts_run ON attempts (run_id);
CREATE INDEX attempts_open ON attempts (state) WHERE state = 'started';
CREATE INDEX attempts_ended ON attempts (ended_s);

CREATE TABLE state_intervals (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs (id),
    attempt_id INTEGER REFERENCES attempts (id),
    state TEXT NOT NULL,
    e10 TEXT NOT NULL CHECK (
        e10 IN ('productive', 'standby', 'engineering', 'scheduled_down', 'unscheduled_down', 'non_scheduled')
    ),
    started_s REAL NOT NULL UNIQUE CHECK (started_s >= 0),
    ended_s REAL NOT NULL CHECK (ended_s > started_s),
    -- 1: written by a heartbeat; the definite interval replaces it
    provisional INTEGER NOT NULL DEFAULT 0 CHECK (provisional IN (0, 1))
) STRICT;
CREATE INDEX state_intervals_ended ON state_intervals (ended_s);
CREATE INDEX state_intervals_attempt ON state_intervals (attempt_id);
CREATE INDEX state_intervals_provisional ON state_intervals (provisional) WHERE provisional = 1;

CREATE TABLE interventions (
    id INTEGER PRIMARY KEY,
    run_id INTEGER REFERENCES runs (id),
    attempt_id INTEGER REFERENCES attempts (id),
    cause TEXT NOT NULL CHECK (cause <> ''),
    class TEXT NOT NULL CHECK (class IN ('assist', 'failure')),
    opened_s REAL NOT NULL CHECK (opened_s >= 0),
    closed_s REAL CHECK (closed_s >= opened_s),
    -- causes that came up in the same stop: one cause is one interrupt
    merged_causes TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(merged_causes)),
    operator TEXT NOT NULL DEFAULT '',
    action TEXT NOT NULL DEFAULT '',
    note TEXT NOT NULL DEFAULT '',
    part_replaced INTEGER NOT NULL DEFAULT 0 CHECK (part_replaced IN (0, 1)),
    opened_utc TEXT NOT NULL,
    closed_utc TEXT
) STRICT;
CREATE INDEX interventions_opened ON interventions (opened_s);

CREATE TABLE self_recoveries (
    id INTEGER PRIMARY KEY,
    run_id INTEGER REFERENCES runs (id),
    attempt_id INTEGER REFERENCES attempts (id),
    kind TEXT NOT NULL,
    started_s REAL NOT NULL CHECK (started_s >= 0),
    ended_s REAL NOT NULL CHECK (ended_s >= started_s),
    recovered INTEGER NOT NULL CHECK (recovered IN (0, 1)),
    tries INTEGER NOT NULL DEFAULT 1 CHECK (tries >= 0),
    detail TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(detail)),
    wall_utc TEXT NOT NULL
) STRICT;
CREATE INDEX self_recoveries_started ON self_recoveries (started_s);

CREATE TABLE faults (
    id INTEGER PRIMARY KEY,
    run_id INTEGER REFERENCES runs (id),
    attempt_id INTEGER REFERENCES attempts (id),
    kind TEXT NOT NULL,
    severity TEXT NOT NULL CHECK (severity IN ('soft', 'hard', 'estop')),
    injected INTEGER NOT NULL DEFAULT 0 CHECK (injected IN (0, 1)),
    robot_s REAL NOT NULL CHECK (robot_s >= 0),
    detail TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(detail)),
    wall_utc TEXT NOT NULL
) STRICT;

CREATE TABLE drift_events (
    id INTEGER PRIMARY KEY,
    run_id INTEGER REFERENCES runs (id),
    kind TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('injected', 'detected')),
    robot_s REAL NOT NULL CHECK (robot_s >= 0),
    detail TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(detail)),
    wall_utc TEXT NOT NULL
) STRICT;

CREATE TABLE policies (
    version INTEGER PRIMARY KEY,
    run_id INTEGER REFERENCES runs (id),
    family TEXT NOT NULL DEFAULT '',
    updates INTEGER NOT NULL DEFAULT 0,
    robot_s REAL NOT NULL CHECK (robot_s >= 0),
    file TEXT,
    sha256 TEXT,
    wall_utc TEXT NOT NULL
) STRICT;

CREATE TABLE checkpoints (
    seq INTEGER PRIMARY KEY,
    run_id INTEGER REFERENCES runs (id),
    robot_s REAL NOT NULL CHECK (robot_s >= 0),
    path TEXT NOT NULL,
    manifest_sha256 TEXT NOT NULL,
    replay_attempt_id INTEGER REFERENCES attempts (id),
    good INTEGER NOT NULL DEFAULT 0 CHECK (good IN (0, 1)),
    wall_utc TEXT NOT NULL
) STRICT;

CREATE TABLE evaluations (
    id INTEGER PRIMARY KEY,
    run_id INTEGER REFERENCES runs (id),
    skill TEXT NOT NULL REFERENCES skills (name),
    policy_version INTEGER,
    robot_s REAL NOT NULL CHECK (robot_s >= 0),
    attempts INTEGER NOT NULL CHECK (attempts >= 0),
    success_rate REAL CHECK (success_rate BETWEEN 0 AND 1),
    return_mean REAL,
    measures TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(measures)),
    wall_utc TEXT NOT NULL
) STRICT;

CREATE TABLE schedules (
    name TEXT PRIMARY KEY,
    cron TEXT NOT NULL,
    action TEXT NOT NULL,
    skill TEXT REFERENCES skills (name),
    enabled INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    wall_utc TEXT NOT NULL
) STRICT;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY CHECK (seq >= 1),
    robot_s REAL NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL CHECK (json_valid(data)),
    hash TEXT NOT NULL,
    wall_utc TEXT NOT NULL
) STRICT;
CREATE INDEX events_kind ON events (kind, seq);
CREATE TRIGGER events_no_update BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are append-only');
END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are append-only');
END;

-- Every attempt with how long it took and the measure that walking skills share.
CREATE VIEW v_attempts AS
SELECT a.id, a.uid, a.skill, k.kind, p.name AS phase, a.run_id, a.state, a.outcome, a.end_reason, a.evaluation,
    a.policy_version, a.started_s, a.ended_s, a.ended_s - a.started_s AS duration_s, a.steps, a.return,
    a.measures ->> 'speed_mps' AS speed_mps, a.measures, a.reward_terms, a.episode_file, a.wall_utc
FROM attempts a JOIN skills k ON k.name = a.skill LEFT JOIN phases p ON p.id = a.phase_id;

-- When a person had to step in, why, and for how long the robot waited.
CREATE VIEW v_interventions AS
SELECT i.id, i.cause, i.class, i.opened_s, i.closed_s, (i.closed_s - i.opened_s) / 60.0 AS minutes,
    i.closed_s IS NULL AS open, a.skill, i.operator, i.action, i.note, i.part_replaced, i.merged_causes,
    i.opened_utc, i.closed_utc
FROM interventions i LEFT JOIN attempts a ON a.id = i.attempt_id;

CREATE VIEW v_causes AS
SELECT cause, count(*) AS interventions, sum(class = 'failure') AS failures, sum(class = 'assist') AS assists,
    sum(closed_s - opened_s) / 60.0 AS minutes
FROM interventions GROUP BY cause ORDER BY interventions DESC, cause;

-- Learning progress of each skill, per hour of robot time; aborted attempts say nothing about a skill.
CREATE VIEW v_skill_progress AS
SELECT skill, CAST(ended_s / 3600 AS INTEGER) AS hour, evaluation, count(*) AS attempts,
    avg(outcome = 'success') AS success_rate, sum(outcome = 'fall') AS falls, avg(return) AS return_mean,
    avg(measures ->> 'speed_mps') AS speed_mps_mean
FROM attempts WHERE state = 'finished' AND outcome <> 'aborted' GROUP BY skill, hour, evaluation;

CREATE VIEW v_state_hours AS
SELECT e10, sum(ended_s - started_s) / 3600.0 AS hours FROM state_intervals GROUP BY e10;

CREATE VIEW v_operating_state_hours AS
SELECT state, e10, count(*) AS entered, sum(ended_s - started_s) / 3600.0 AS hours
FROM state_intervals GROUP BY state, e10;

CREATE VIEW v_falls AS
SELECT r.id, r.started_s, r.ended_s - r.started_s AS seconds_down, r.recovered, r.tries, a.skill, a.uid AS attempt
FROM self_recoveries r LEFT JOIN attempts a ON a.id = r.attempt_id WHERE r.kind = 'fall';
"""

VERSIONS = """\
-- version that a policy was learned on from, in this home; NULL: none, or not noted
ALTER TABLE policies ADD COLUMN parent INTEGER;
-- what its learner began with since then, such as a checkpoint; without a parent and empty: not noted
ALTER TABLE policies ADD COLUMN origin TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(origin));
-- attempts of this home that it had learned from; the last of them is replay_attempt_id of its checkpoint
ALTER TABLE policies ADD COLUMN attempts INTEGER;

-- robot and dynamics: empty in evaluation attempts of a run, on the run's own robot as it is
ALTER TABLE evaluations ADD COLUMN robot TEXT NOT NULL DEFAULT '';
ALTER TABLE evaluations ADD COLUMN dynamics TEXT NOT NULL DEFAULT '';
ALTER TABLE evaluations ADD COLUMN seed INTEGER;
ALTER TABLE evaluations ADD COLUMN purpose TEXT NOT NULL DEFAULT 'run'
    CHECK (purpose IN ('run', 'eval', 'comparison', 'tier'));
-- intervals, and what else the purpose needs
ALTER TABLE evaluations ADD COLUMN figures TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(figures));
CREATE INDEX evaluations_skill ON evaluations (skill, purpose, id);

CREATE TABLE deployments (
    id INTEGER PRIMARY KEY,
    run_id INTEGER REFERENCES runs (id),
    robot_s REAL NOT NULL CHECK (robot_s >= 0),
    skill TEXT NOT NULL REFERENCES skills (name),
    policy_version INTEGER NOT NULL,
    -- version that was deployed until then; NULL: none
    before_version INTEGER,
    action TEXT NOT NULL CHECK (action IN ('promote', 'roll_back')),
    reason TEXT NOT NULL,
    operator TEXT NOT NULL DEFAULT '',
    evaluations TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(evaluations)),
    -- in the home's folder `deployed`: checkpoints go when newer ones come
    file TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    wall_utc TEXT NOT NULL
) STRICT;
CREATE INDEX deployments_skill ON deployments (skill, id);

-- Every stored policy with its parents, data, code and configuration; prior data and settings are in the run's config.
CREATE VIEW v_policies AS
SELECT p.version, p.family, p.parent, p.origin, p.updates, p.attempts, c.replay_attempt_id AS last_attempt_id,
    p.robot_s / 3600.0 AS hour, p.file AS checkpoint, c.manifest_sha256, p.run_id, r.robot,
    r.versions ->> 'perdure' AS perdure, r.versions ->> '$.machine.commit' AS git_commit, r.config, p.figures,
    p.wall_utc
FROM policies p LEFT JOIN runs r ON r.id = p.run_id LEFT JOIN checkpoints c ON c.path = p.file;

-- The policy of each skill that is deployed now.
CREATE VIEW v_deployed AS
SELECT d.* FROM deployments d WHERE d.id = (SELECT max(id) FROM deployments WHERE skill = d.skill);
"""
