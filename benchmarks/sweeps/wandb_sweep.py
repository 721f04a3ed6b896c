"""A sweep as W&B's own: its YAML, and the settings that W&B's agent hands back on the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from veilbench.errors import UserError, did_you_mean, shown

from .loaded import LoadedSweep
from .spec import Range, SweepSpec

METHODS = {"tpe": "bayes", "random": "random", "grid": "grid"}
OPTIONS = frozenset({"executor", "help", "jobs", "results", "tracker"})
"""Options of ``veilbench agent``: no parameter can be called so."""


def wandb_sweep(sweep: LoadedSweep, reference: str, results: Path) -> dict[str, Any]:
    """The content of a YAML file for ``wandb sweep``.

    W&B proposes the settings then and remembers what came of them; its metric is the first objective, and constraints
    are for people to look at.  Its ``bayes`` is a Gaussian process, not TPE, and it knows nothing of ``prune``.

    Args:
        sweep: to export.
        reference: name or path of the sweep, for the agents' command.
        results: folder of the results, for the same.

    Raises:
        UserError: when a parameter has the name of an option of ``veilbench agent``.
    """
    spec, first = sweep.spec, sweep.spec.objectives[0]
    _check_names(sweep)
    others = [one.label for one in spec.objectives[1:]]
    notes = [spec.description, f"W&B looks at {first.label} alone; also kept: {', '.join(others)}" if others else ""]
    return {
        "name": sweep.name,
        "description": ". ".join(filter(None, notes)),
        "program": "veilbench",
        "method": METHODS[spec.sampler],
        "metric": {"name": first.label, "goal": first.direction},
        "run_cap": spec.trials,
        "parameters": {name: _parameter(choice) for name, choice in spec.parameters.items()},
        "command": ["${env}", "${program}", "agent", reference, "--results", str(results), "${args}"],
    }


def _parameter(choice: Range | list[Any]) -> dict[str, Any]:
    if isinstance(choice, list):
        return {"values": choice}
    whole = isinstance(choice.low, int) and isinstance(choice.high, int)
    limits = {"min": choice.low, "max": choice.high}
    if choice.log:
        return {"distribution": "q_log_uniform_values" if whole else "log_uniform_values", **limits}
    return {"distribution": "int_uniform" if whole else "uniform", **limits}


def _check_names(sweep: LoadedSweep) -> None:
    if taken := sorted(OPTIONS & set(sweep.spec.parameters)):
        raise UserError(
            f"{sweep.where}: {taken[0]} is an option of `veilbench agent`, so that W&B cannot hand it a parameter of "
            "that name; sweep it with `veilbench sweep`"
        )


def read_settings(sweep: LoadedSweep, words: Sequence[str]) -> dict[str, Any]:
    """The settings of a command line, in the order of the sweep's parameters.

    Args:
        sweep: whose parameters.
        words: ``--name=value`` or ``--name value``, as W&B writes them: a choice as Python's ``str`` or JSON has it.

    Raises:
        UserError: unless each parameter is there, once, with a value that the sweep allows.
    """
    _check_names(sweep)
    texts, left = {}, list(words)
    while left:
        word = left.pop(0)
        name, equals, text = word.removeprefix("--").partition("=")
        if not word.startswith("--") or (not equals and not left):
            raise UserError(f"{shown(word)}: not a parameter with a value; write --NAME=VALUE")
        if name not in sweep.spec.parameters:
            raise UserError(f"--{shown(name)}: {sweep.where} sweeps no such parameter; "
                            f"{did_you_mean(name, sweep.spec.parameters)}")  # fmt: skip
        if name in texts:
            raise UserError(f"--{name}: given twice; give it once")
        texts[name] = text if equals else left.pop(0)
    if missing := [name for name in sweep.spec.parameters if name not in texts]:
        raise UserError(f"--{missing[0]}: missing; give every parameter that {sweep.where} sweeps")
    return {name: _value(sweep.spec, name, texts[name]) for name in sweep.spec.parameters}


def _value(spec: SweepSpec, name: str, text: str) -> Any:
    choice = spec.parameters[name]
    if isinstance(choice, list):
        known = [one for one in choice if text in {str(one), json.dumps(one)}]
        if len(known) != 1:
            raise UserError(f"--{name}={shown(text)}: not one of its choices, {', '.join(map(str, choice))}")
        return known[0]
    try:
        number: float = float(text)
    except ValueError as error:
        raise UserError(f"--{name}={shown(text)}: a number is needed") from error
    whole = isinstance(choice.low, int) and isinstance(choice.high, int)
    if not choice.low <= number <= choice.high or (whole and not number.is_integer()):
        kind = "a whole number" if whole else "a number"
        raise UserError(f"--{name}={shown(text)}: {kind} from {choice.low} to {choice.high} is needed")
    return int(number) if whole else number
