"""What every protection method promises.  Methods are found by their configs: a new one is tested by existing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from veilbench.benchmarks.specs.components import build_method, load_component
from veilbench.benchmarks.specs.configs import CONFIGS, config_names
from veilbench.datasets.base import FaceBatch
from veilbench.methods.base import Goal, ProtectionMethod, Task
from veilbench.testing import METHOD_CHECKS, Check, MethodCase
from veilbench.testing.methods import noise_faces, repeats_exactly, synthetic_faces

CASES = [
    (name, goal)
    for name in config_names("methods")
    for goal in sorted(load_component("methods", name, CONFIGS).cls.goals)
]


def build(name: str, effort: int = 3) -> ProtectionMethod:
    """The method with its own parameters, but few steps and small groups, and without what only a download gives."""
    component = load_component("methods", name, CONFIGS)
    efforts: dict[str, object] = {"steps": effort, "iterations": effort, "embedding_iterations": 2, "group_size": 2}
    if component.cls.trains:
        efforts |= {"training_faces": 2, "training_batch": 2, "inversion_steps": 3, "generation_steps": 2}
        efforts |= {"adversarial_from": 0, "adversarial_weight": 10.0, "learning_rate": 1e-3}
        efforts |= {"preservation": "embedded_features"}
    few = {key: value for key, value in efforts.items() if key in component.params}
    return build_method(load_component("methods", name, CONFIGS, few))


@pytest.fixture(scope="session")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where trained networks are kept for the tests that do not care how they came about."""
    return tmp_path_factory.mktemp("trainings")


@pytest.mark.parametrize("check", METHOD_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("name", "goal"), CASES)
def test_keeps_its_promises(name: str, goal: Goal, check: Check[MethodCase], trainings: Path) -> None:
    # what repeats exactly is trained anew each time
    kept = None if check is repeats_exactly else trainings / name
    check(MethodCase(lambda: build(name), goal, kept))


@pytest.mark.parametrize("name", config_names("methods"))
def test_stands_in_the_module_of_its_kind(name: str) -> None:
    cls = load_component("methods", name, CONFIGS).cls
    own = f"veilbench.methods.{cls.kind}"
    assert cls.__module__ in {own, f"{own}.method"}  # a file, or a package


@pytest.mark.parametrize(("name", "goal"), CASES)
def test_comes_closer_to_its_goal(name: str, goal: Goal) -> None:
    case = MethodCase(lambda: build(name, effort=8 if build(name).trains else 3), goal)
    if not case.build().uses_surrogates:
        pytest.skip("it has no surrogates to pursue a goal with")
    faces = noise_faces()
    if case.build().trains:
        faces = FaceBatch.collate([synthetic_faces().training(2)[index] for index in range(2)])
    protected = case.protect(faces).images
    task = case.task()
    idle = without_effort(name, faces, task)
    for surrogate in task.surrogates:
        with torch.no_grad():
            if goal is Goal.IMPERSONATE:
                references = task.target_embeddings(surrogate)
                gains = (surrogate(protected) - surrogate(idle)) @ references.T
                assert float(gains.amax(dim=1).mean()) > 0
            else:
                before, after = (
                    (surrogate(images) * surrogate(faces.images)).sum(dim=1) for images in (idle, protected)
                )
                # a cosine of 1 falls with the square of a few small steps, but by far more than rounding does
                assert float(after.mean()) < min(1 - 5e-5, float(before.mean()))


def without_effort(name: str, faces: FaceBatch, task: Task) -> torch.Tensor:
    """What a method gives before it pursues its goal: a diffusion model draws the face anew without any effort."""
    usual = build(name)
    if usual.family not in {"makeup", "diffusion"}:
        return faces.images
    method = build(name, effort=1 if usual.trains else 0)
    method.assign(task)
    with torch.no_grad():
        return method.predict_step(faces).images
