"""A process that only asks methods: no Lightning in it, the same answers, and nothing that can be made."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from veilbench import registry
from veilbench.benchmarks.engine.plan import Plan
from veilbench.benchmarks.specs.suite import load_suite
from veilbench.methods.base import ProtectionMethod
from veilbench.methods.lightning import base_class

SLOW = {"cleanfid", "diffusers", "matplotlib", "pandas", "pytorch_lightning", "skimage", "torchmetrics", "torchvision"}


def python(code: str, *words: str) -> list[str]:
    environment = {**os.environ, "COLUMNS": "300"}
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def answers() -> dict[str, list[Any]]:
    """By kind, what a plan asks a method."""
    facts = ["family", "version", "strength_parameter", "trains"]
    facts += ["uses_surrogates", "uses_target", "uses_seed", "uses_parts", "uses_reference"]
    found: dict[str, list[Any]] = {}
    for kind in registry.known_kinds("methods"):
        cls = registry.find("methods", kind)
        fields = registry.signature_model(cls).model_fields
        params = {name: re.sub(" at 0x[0-9a-f]+", "", str(field)) for name, field in fields.items()}
        told = [getattr(cls, fact) for fact in facts] + [sorted(cls.goals), sorted(cls.__abstractmethods__)]
        found[kind] = [registry.is_of("methods", cls), params, *told]
    return found


def refusals() -> dict[str, str]:
    """By kind, why it cannot be made."""
    found = {}
    for kind in registry.known_kinds("methods"):
        try:
            registry.find("methods", kind)()
        except ValueError as error:
            found[kind] = str(error)
    return found


ONLY_ASKS = f"""
import json, re
from typing import Any
from veilbench import registry
from veilbench.methods.lightning import only_ask
only_ask()
{inspect.getsource(answers)}
{inspect.getsource(refusals)}
print(json.dumps(answers()))
print(json.dumps(refusals()))
"""


def test_elsewhere_a_method_is_lightnings_module() -> None:
    assert base_class() is pl.LightningModule
    assert issubclass(ProtectionMethod, pl.LightningModule)


def test_a_plan_imports_nothing_slow_and_names_the_cells_that_a_run_makes(tmp_path: Path) -> None:
    main = "import sys\nfrom veilbench.benchmarks.cli import main"
    code = f"{main}\ntry:\n    main()\nfinally:\n    print(*sys.modules)"
    *shown, modules = python(code, "plan", "embedded", "--results", str(tmp_path))
    assert "torch" in modules.split()
    assert not SLOW & set(modules.split())
    named = [found[1] for line in shown if (found := re.match(r"│ (\S+-[0-9a-f]{12}) ", line))]
    assert named == list(Plan(load_suite("embedded")).protections)


def test_classes_that_are_only_asked_answer_alike_and_cannot_be_made() -> None:
    asked, refused = map(json.loads, python(ONLY_ASKS))
    assert asked == json.loads(json.dumps(answers()))
    assert len(asked) > 6
    assert set(refused) == set(asked)
    assert all(why.startswith(f"{kind}: cannot be made") for kind, why in refused.items())
