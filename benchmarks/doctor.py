"""Is this installation able to run?  Each check says what it found and, where it is not well, what to do."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from veilbench.errors import UserError, WeightsError, one_line
from veilbench.models.user_weights.folder import weights_folder

from .engine.provenance import provenance
from .specs.components import build_dataset, load_component
from .specs.configs import CONFIGS, config_names
from .specs.recognizers import NETWORKS, build_recognizer, load_recognizer_spec
from .weights import verify

COMPROMISED_LIGHTNING = {"2.6.2", "2.6.3"}  # GHSA-w37p-236h-pfx3
ENOUGH_BYTES = 1 << 30
ADVICE = "put it there, or name your copy as `trunk` of the score lpips"


def check(results: Path) -> tuple[Table, bool]:
    """Run all checks.

    Returns:
        A table of findings, and whether everything that the embedded world needs is well.
    """
    findings = [
        _packages(),
        _pair(),
        _hardware(),
        _onnxruntime(),
        _results(results),
        _tracker(),
        *_datasets(),
        _weights(),
        *_recognizers(),
        *_lpips(),
        *_features(),
        *_suites(),
    ]
    table = Table(title="veilbench doctor", title_justify="left")
    for column in ("check", "state", "found"):
        table.add_column(column)
    marks = {"ok": "[green]ok[/green]", "note": "[yellow]note[/yellow]", "bad": "[red]bad[/red]"}
    for name, state, found in findings:
        table.add_row(name, marks[state], escape(found))
    return table, all(state != "bad" for _, state, _ in findings)


Finding = tuple[str, str, str]


def _packages() -> Finding:
    version = importlib.metadata.version("pytorch-lightning")
    if version in COMPROMISED_LIGHTNING:
        return ("packages", "bad", f"pytorch-lightning {version} is a compromised release; run `make install`")
    found = ", ".join(f"{name} {version}" for name, version in provenance()["packages"].items())
    return ("packages", "ok", found)


def _pair() -> Finding:
    """Torch and torchvision must match, or importing torchvision fails."""
    try:
        import torchvision.ops  # noqa: PLC0415
    except (ImportError, RuntimeError) as error:
        line = str(error).splitlines()[0]
        return ("torchvision", "bad", f"does not match torch ({line}); run `make install`")
    return ("torchvision", "ok", f"{torchvision.__version__} loads")


def _hardware() -> Finding:
    facts = provenance()
    return ("hardware", "ok", f"{facts['accelerator'] or facts['processor']}, {facts['cores']} cores")


def _onnxruntime() -> Finding:
    """Where judges in ONNX files run.  Without the package, or on the CPU beside a GPU, is no fault."""
    try:
        import onnxruntime  # noqa: PLC0415
    except ImportError as error:
        return ("onnxruntime", "note", f"{one_line(error)}; recognisers in ONNX files need it: veilbench[insightface]")
    providers = onnxruntime.get_available_providers()
    if provenance()["accelerator"] and "CUDAExecutionProvider" not in providers:
        return ("onnxruntime", "note", "has no CUDAExecutionProvider: judges run on the CPU; onnxruntime-gpu has it")
    return ("onnxruntime", "ok", ", ".join(providers))


def _results(results: Path) -> Finding:
    folder = next(path for path in (results.resolve(), *results.resolve().parents) if path.exists())
    if not os.access(folder, os.W_OK):
        return ("results", "bad", f"{folder} cannot be written; choose another --results")
    free = shutil.disk_usage(folder).free
    if free < ENOUGH_BYTES:
        return ("results", "note", f"{free / 1e9:.1f} GB free in {folder}; make room before a large run")
    return ("results", "ok", f"{results} ({free / 1e9:.0f} GB free)")


def _tracker() -> Finding:
    """A tracker that cannot be used is no fault: runs go on without it."""
    from .trackers.wandb_mode import wandb_mode  # noqa: PLC0415

    meanings = {"offline": "runs are kept offline (no W&B key, or its settings say so)", "disabled": "W&B is disabled"}
    try:
        mode = wandb_mode(Path())
    except Exception as error:
        return ("tracker", "note", f"{one_line(error)}; runs are not tracked until this is mended")
    return ("tracker", "ok", meanings.get(mode, "W&B key found: runs go online"))


def _datasets() -> list[Finding]:
    """A data set that is not there is no fault: faces may not be shipped."""
    findings = []
    for name in config_names("datasets"):
        try:
            dataset = build_dataset(load_component("datasets", name, CONFIGS / "datasets"))
        except UserError as error:
            reason = str(error).removeprefix(f"{CONFIGS / 'datasets' / name}.yaml: ")
            findings.append((name, "note", reason))
        else:
            findings.append((name, "ok", f"{len(dataset)} sources, {len(dataset.targets)} targets"))
    return findings


def _weights() -> Finding:
    """Kept weights whose hash is not their card's are a fault; none at all are not: the embedded world needs none."""
    checked = verify()
    faults = [problem for _, problem in checked if problem]
    if faults:
        return ("weights", "bad", "; ".join(faults))
    return ("weights", "ok", f"{len(checked)} kept in {weights_folder()}; see `veilbench weights list`")


def _recognizers() -> list[Finding]:
    findings = []
    for name in config_names("recognizers"):
        _, spec = load_recognizer_spec(name, CONFIGS / "recognizers")
        if spec.room == NETWORKS and spec.weights is None:
            findings.append((name, "note", spec.description or "no weights given"))
            continue
        try:
            build_recognizer(name, spec)
        except UserError as error:
            findings.append((name, "bad", str(error)))
        else:
            findings.append((name, "ok", f"weights load; {spec.training_data}"))
    return findings


def _lpips() -> list[Finding]:
    """LPIPS without its trunk is no fault: its column is empty then."""
    from veilbench.models.features.files import TRUNKS  # noqa: PLC0415
    from veilbench.models.perceptual import find_trunk  # noqa: PLC0415

    findings = []
    for net, trunk in TRUNKS.items():
        try:
            findings.append((trunk.name, "ok", str(find_trunk(net, None, ADVICE))))
        except WeightsError as error:
            findings.append((trunk.name, "note", str(error)))
    return findings


def _features() -> list[Finding]:
    """FID without its network is no fault: its columns are empty then."""
    from veilbench.models.features.networks import FEATURE_NETWORKS  # noqa: PLC0415

    findings = []
    for kind, network in FEATURE_NETWORKS.items():
        try:
            findings.append((f"fid {kind}", "ok", str(network.find())))
        except WeightsError as error:
            findings.append((f"fid {kind}", "note", str(error)))
    return findings


def _suites() -> list[Finding]:
    """A comparison whose data or weights are not there is no fault either."""
    from .engine.missing import missing  # noqa: PLC0415
    from .specs.suite import load_suite  # noqa: PLC0415

    findings = []
    for name in config_names("suites"):
        lacking = missing(load_suite(name))
        more = f"lacks {', '.join(lacking)}; `veilbench plan {name}` says of each what to do"
        findings.append((f"suite {name}", "note" if lacking else "ok", more if lacking else "can run"))
    return findings
