"""A sweep that W&B directs: the YAML is what it takes, and the agent does what its command line says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from veilbench.benchmarks.sweeps.loaded import LoadedSweep
from veilbench.benchmarks.sweeps.wandb_sweep import read_settings, wandb_sweep
from veilbench.errors import UserError

from . import conftest
from .conftest import Outcome
from .test_sweep import SWEEP, write
from .wandb_files import kept_summary

MAIN = f"import sys; sys.argv[0] = 'veilbench'; {conftest.MAIN}"
ODD: dict[str, Any] = {  # parameters of pgd of every type, and a parameter whose choices look alike
    "parameters": {"epsilon": {"low": 0.01, "high": 0.2, "log": True}, "steps": {"low": 2, "high": 8, "log": True},
                   "step_size": [0.01, 0.02]},
}  # fmt: skip


def loaded(world: Path, **changes: Any) -> LoadedSweep:
    return LoadedSweep(str(write(world, **changes)))


def arguments(chosen: dict[str, Any]) -> list[str]:
    """``${args}`` as W&B's own agent writes it."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args  # noqa: PLC0415 (slow to import)

    command = {"args": {name: {"value": value} for name, value in chosen.items()}}
    return list(create_sweep_command_args(command)["args"])


def test_the_exported_yaml_says_what_the_sweep_says(world: Path, veilbench: Callable[..., Outcome]) -> None:
    path = write(world, objectives=[{"column": "psnr", "direction": "minimize"}], **ODD)
    outcome = veilbench("sweep", path, "--export-wandb", "--results", world / "r")
    assert outcome.code == 0
    assert not (world / "r").exists()
    assert yaml.safe_load(outcome.out) == {
        "name": "sweep",
        "description": "",
        "program": "veilbench",
        "method": "bayes",
        "metric": {"name": "psnr", "goal": "minimize"},
        "run_cap": 4,
        "parameters": {
            "epsilon": {"distribution": "log_uniform_values", "min": 0.01, "max": 0.2},
            "steps": {"distribution": "q_log_uniform_values", "min": 2, "max": 8},
            "step_size": {"values": [0.01, 0.02]},
        },
        "command": ["${env}", "${program}", "agent", str(path), "--results", str(world / "r"), "${args}"],
    }


@pytest.mark.parametrize(
    "changes",
    [
        ODD,
        {"parameters": {"epsilon": {"low": 0.01, "high": 0.2}, "steps": {"low": 2, "high": 8}}, "sampler": "random"},
        {"parameters": {"steps": [2, 3]}, "sampler": "grid"},
    ],
)
def test_w_and_b_s_own_schema_has_nothing_to_complain_of(world: Path, changes: dict[str, Any]) -> None:
    sweeps = pytest.importorskip("sweeps", reason="W&B's package `sweeps`, which has the schema, is not installed")
    found = wandb_sweep(loaded(world, **changes), "sweep.yaml", Path("results"))
    assert sweeps.schema_violations_from_proposed_config(found) == []


def test_settings_come_back_from_w_and_b_s_command_line_as_they_were(world: Path) -> None:
    sweep = loaded(world, parameters={"steps": {"low": 2, "high": 8}, "epsilon": {"low": 0.01, "high": 0.2}})
    chosen = {"steps": 3, "epsilon": 0.0123456789}
    assert read_settings(sweep, arguments(chosen)) == chosen
    assert read_settings(sweep, ["--epsilon", "0.0123456789", "--steps", "3.0"]) == chosen
    sweep.spec.parameters.clear()
    sweep.spec.parameters["word"] = [None, "1e-3", True, 2, [1, 2]]
    for value in (None, "1e-3", True, 2, [1, 2]):
        (back,) = read_settings(sweep, arguments({"word": value})).values()
        assert back == value
        assert type(back) is type(value)
    assert read_settings(sweep, ["--word=null"]) == {"word": None}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps=2"], "--epsilon: missing; give every parameter"),
        (["--steps=2", "--epsilon=0.1", "--steps=3"], "--steps: given twice"),
        (["--step=2", "--epsilon=0.1"], "sweeps no such parameter; did you mean 'steps'"),
        (["--steps=5", "--epsilon=0.1"], "--steps=5: not one of its choices, 2, 3"),
        (["--steps=2", "--epsilon=2"], "--epsilon=2: a number from 0.01 to 0.2 is needed"),
        (["--steps=2", "--epsilon=nan"], "--epsilon=nan: a number from 0.01 to 0.2 is needed"),
        (["--steps=2", "--epsilon=x"], "--epsilon=x: a number is needed"),
        (["--steps=2", "--epsilon"], "--epsilon: not a parameter with a value"),
        (["steps=2", "--epsilon=0.1"], "steps=2: not a parameter with a value"),
    ],
)
def test_what_no_trial_can_be_is_named(world: Path, words: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_settings(loaded(world), words)
    assert message in str(caught.value)


def test_a_parameter_named_as_an_option_is_refused(world: Path) -> None:
    sweep = loaded(world)
    sweep.spec.parameters["jobs"] = [1, 2]
    with pytest.raises(UserError, match="jobs is an option of `veilbench agent`"):
        wandb_sweep(sweep, "sweep.yaml", Path("results"))


def test_the_agent_s_run_has_what_the_sweep_optimises_without_an_account(world: Path) -> None:
    path = write(world, constraints=[{"column": "ssim", "at_least": 0.5}])
    exported = wandb_sweep(LoadedSweep(str(path)), str(path), world / "r")
    place = exported["command"].index("${program}")
    words = [*exported["command"][place + 1 : -1], *arguments({"epsilon": 0.05, "steps": 2})]
    variables = {
        **{key: value for key, value in os.environ.items() if not key.startswith("WANDB_")},
        # as W&B's agent sets them
        "WANDB_SWEEP_ID": "abcdefgh", "WANDB_RUN_ID": "trial123", "HOME": str(world), "NETRC": str(world / "netrc"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *words], env=variables, cwd=world, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (run,) = (world / "r" / "wandb").glob("offline-run-*")
    assert run.name.endswith("trial123")
    summary = kept_summary(run)
    assert {"psr_white_box", "psnr", "feasible"} <= set(summary)
    assert exported["metric"]["name"] in summary
    assert summary["feasible"] == 1
    assert summary["psnr"] == summary["impersonate/psnr"]
    printed = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines() if line.startswith("psnr "))
    assert float(printed["psnr"]) == pytest.approx(summary["psnr"], rel=1e-5)
    # the same settings by `veilbench run`: the same cells, whose leaderboard says the same
    cells = {one.name for one in (world / "r" / "store" / "protections").iterdir()}
    settings = ["--set", "pgd.epsilon=0.05", "--set", "pgd.steps=2", "--set", "suite.protocol.goals=[impersonate]"]
    again = [sys.executable, "-c", MAIN, "run", str(world / "suite.yaml"), *settings, "-m", "pgd", "--results"]
    subprocess.run([*again, str(world / "r"), "--tracker", "none"], env=variables, cwd=world, check=True)
    assert {one.name for one in (world / "r" / "store" / "protections").iterdir()} == cells
    (board,) = (world / "r" / "suites").glob("suite-*/leaderboard.csv")
    header, row = board.read_text(encoding="utf-8").splitlines()
    columns = dict(zip(header.split(","), row.split(","), strict=True))
    assert float(columns["psnr"]) == pytest.approx(summary["psnr"], rel=1e-5)
    assert float(columns["psr_white_box"]) == pytest.approx(summary["psr_white_box"], rel=1e-5)
    assert not (world / "r" / "sweeps" / "sweep" / "journal.log").exists()
    assert "1 W&B run is kept offline" in done.stdout


def test_an_agent_without_w_and_b_tells_its_objectives(world: Path, veilbench: Callable[..., Outcome]) -> None:
    path = write(world, **{key: SWEEP[key] for key in ("suite", "method")})
    words = ["--results", world / "r", "--tracker", "none", "--epsilon=0.05", "--steps=2"]
    outcome = veilbench("agent", path, *words)
    assert outcome.code == 0, outcome
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["psr_white_box", "psnr"]
    refused = veilbench("agent", path, "--tracker", "./mine.py:Mine", "--epsilon=0.05", "--steps=2")
    assert refused.code == 2
    assert "an agent reports to W&B; use wandb, offline, none" in refused.err
