"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", envvar="PERDURE_HOME", help="Home directory; default: the user's data directory."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print facts as one JSON value.")]
SkillFolderOption = Annotated[
    list[Path] | None,
    typer.Option("--skill-folder", envvar="PERDURE_SKILLS", help="A folder with skills of your own; may be repeated."),
]
OperatorOption = Annotated[str, typer.Option("--operator", help="Who helped; default: your login name.")]
PartReplacedOption = Annotated[
    bool, typer.Option("--part-replaced", help="A part was replaced: this counts as a failure.")
]
