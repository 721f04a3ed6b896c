"""What every protection method promises.  Methods are found by their configs: a new one is tested by existing."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from veilbench.benchmarks.components import build_method, load_component
from veilbench.benchmarks.configs import CONFIGS, config_names
from veilbench.benchmarks.store import TrainingFolder
from veilbench.benchmarks.train import train
from veilbench.datasets.base import FaceBatch, Target
from veilbench.datasets.synthetic_makeup import SyntheticMakeup
from veilbench.methods.base import Goal, ProtectionMethod, Task
from veilbench.methods.trained import TrainedMethod
from veilbench.models.recognizers.base import Recognizer

SIDE = 32
COUNT = 4
FAMILIES = {"none", "noise", "makeup", "diffusion"}
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


@cache
def drawn() -> SyntheticMakeup:
    """Where masks, makeup and training faces come from."""
    return SyntheticMakeup(sources=1, targets=1, size=SIDE)


@pytest.fixture(scope="session")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where trained networks are kept for the tests that do not care how they came about."""
    return tmp_path_factory.mktemp("trainings")


@pytest.fixture
def faces() -> FaceBatch:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(COUNT, 3, SIDE, SIDE, generator=generator)
    return FaceBatch(tuple(f"face{number}" for number in range(COUNT)), images, (None,) * COUNT)


@pytest.fixture
def task(make_recognizer: Callable[..., Recognizer]) -> Callable[[Goal], Task]:
    def make(goal: Goal) -> Task:
        generator = torch.Generator().manual_seed(4)
        photos = torch.rand(4, 3, SIDE, SIDE, generator=generator)
        targets = [Target("t", photos[0], photos[1], "t"), Target("u", photos[2], photos[3], "u")]
        surrogates = [make_recognizer("one", 1), make_recognizer("two", 2)]
        wanted = targets if goal is Goal.IMPERSONATE else ()
        return Task(goal, surrogates, wanted, seed=5, reference=drawn().references["red_lips"])

    return make


def assign(method: ProtectionMethod, task: Task, trainings: Path) -> None:
    """Give a method its task, and one that trains its network: trained now, or what is in ``trainings`` already."""
    method.assign(task)
    if isinstance(method, TrainedMethod):
        train(method, drawn().training(2), TrainingFolder(trainings))


def run(method: ProtectionMethod, faces: FaceBatch, task: Task, trainings: Path) -> torch.Tensor:
    assign(method, task, trainings)
    with torch.no_grad():  # as Lightning's predict loop does
        return method.predict_step(faces).images


@pytest.mark.parametrize("name", config_names("methods"))
def test_describes_itself(name: str) -> None:
    cls = load_component("methods", name, CONFIGS).cls
    assert cls.__module__ == f"veilbench.methods.{cls.kind}"
    assert cls.family in FAMILIES
    assert cls.goals
    assert cls.__doc__
    assert cls.paper or cls.family == "none"
    pickle.loads(pickle.dumps(build(name)))  # noqa: S301 - spawned processes get it this way


@pytest.mark.parametrize(("name", "goal"), CASES)
def test_gives_images_and_leaves_its_input_alone(
    name: str, goal: Goal, faces: FaceBatch, task: Callable[[Goal], Task], trainings: Path
) -> None:
    before = faces.images.clone()
    method = build(name)
    assign(method, task(goal), trainings / name)
    with torch.no_grad():
        result = method.predict_step(faces)
    assert torch.equal(faces.images, before)
    assert result.ids == faces.ids
    assert result.images.shape == before.shape
    assert result.images.dtype == torch.float32
    assert not result.images.requires_grad
    assert result.images.isfinite().all()
    assert 0 <= float(result.images.min()) <= float(result.images.max()) <= 1
    assert not result.errors
    assert result.cost.seconds > 0
    assert all(parameter.grad is None for surrogate in method.task.surrogates for parameter in surrogate.parameters())
    if method.uses_surrogates:
        # a trained method has paid them in its training
        assert all((result.cost.backward[name] > 0) != method.trains for name in ("one", "two"))
        assert not torch.equal(result.images, before)


@pytest.mark.parametrize(("name", "goal"), CASES)
def test_repeats_exactly_and_depends_on_the_seed_only_if_it_says_so(
    name: str, goal: Goal, faces: FaceBatch, task: Callable[[Goal], Task], trainings: Path, tmp_path: Path
) -> None:
    first, again, other = task(goal), task(goal), task(goal)
    other.seed = 6
    torch.manual_seed(1)
    result = run(build(name), faces, first, trainings / name)
    torch.manual_seed(2)
    assert torch.equal(run(build(name), faces, again, tmp_path / "again"), result)
    if not build(name).uses_seed:
        assert torch.equal(run(build(name), faces, other, tmp_path / "other"), result)


@pytest.mark.parametrize(("name", "goal"), CASES)
def test_an_image_does_not_depend_on_its_batch(
    name: str, goal: Goal, faces: FaceBatch, task: Callable[[Goal], Task], trainings: Path
) -> None:
    """Same random numbers whatever the batch, and the same bits: a flipped sign would grow into another image."""
    kept = trainings / name
    together = run(build(name), faces, task(goal), kept)
    order = [2, 0, 3, 1]
    alone = {
        faces.ids[place]: run(
            build(name), FaceBatch((faces.ids[place],), faces.images[place : place + 1], (None,)), task(goal), kept
        )[0]
        for place in order
    }
    apart = torch.stack([alone[item] for item in faces.ids])
    assert torch.equal(together, apart)


@pytest.mark.parametrize(("name", "goal"), CASES)
def test_comes_closer_to_its_goal(
    name: str, goal: Goal, faces: FaceBatch, task: Callable[[Goal], Task], tmp_path: Path
) -> None:
    assigned = task(goal)
    method = build(name, effort=8 if build(name).trains else 3)
    if not method.uses_surrogates:
        pytest.skip("it has no surrogates to pursue a goal with")
    if method.trains:
        faces = FaceBatch.collate([drawn().training(2)[index] for index in range(2)])
    protected = run(method, faces, assigned, tmp_path)
    idle = without_effort(name, faces, assigned)
    for surrogate in assigned.surrogates:
        with torch.no_grad():
            if goal is Goal.IMPERSONATE:
                references = assigned.target_embeddings(surrogate)
                gains = (surrogate(protected) - surrogate(idle)) @ references.T
                assert float(gains.amax(dim=1).mean()) > 0
            else:
                before, after = (
                    (surrogate(images) * surrogate(faces.images)).sum(dim=1) for images in (idle, protected)
                )
                assert float(after.mean()) < min(0.999, float(before.mean()))


def without_effort(name: str, faces: FaceBatch, task: Task) -> torch.Tensor:
    """What a method gives before it pursues its goal: a diffusion model draws the face anew without any effort."""
    usual = build(name)
    if usual.family not in {"makeup", "diffusion"}:
        return faces.images
    method = build(name, effort=1 if usual.trains else 0)
    method.assign(task)
    with torch.no_grad():
        return method.predict_step(faces).images
