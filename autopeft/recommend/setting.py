"""What rules look at: a candidate of a method, its cost, and the setting it would run in."""

from dataclasses import dataclass

from autopeft.estimation.estimate import grows_with_depth
from autopeft.estimation.strategy import on_team
from autopeft.methods import Method
from autopeft.methods._targets import target_modules
from autopeft.recommend.needs import TaskNeeds, task_needs
from autopeft.values.candidates import Candidate, Constraints, Estimate, Setup
from autopeft.values.names import DTYPE_BYTES
from autopeft.values.profiles import HardwareProfile, ModelProfile, TaskProfile

MANY_ROWS = 20_000
"""Training rows that are many."""

HEADROOM = 0.1
"""Share of a device's free memory that is left unused: the estimate is a formula, and batches vary."""

EPOCHS = 3
"""Passes over the training rows that a plan assumes, the usual number of published fine-tuning recipes."""


def planned_tokens(task: TaskProfile) -> float:
    """Returns the tokens that a plan of so many passes trains on."""
    return task.training_rows * EPOCHS * task.tokens.mean


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where a recommendation is made."""

    hardware: HardwareProfile
    model: ModelProfile
    task: TaskProfile
    needs: TaskNeeds
    constraints: Constraints

    @property
    def memory_limit(self) -> int:
        """Bytes a run may take, context included: the user's limit as given, else free memory less a tenth."""
        if self.constraints.memory_bytes is not None:
            return self.constraints.memory_bytes
        return int(self.hardware.device.free_memory_bytes * (1 - HEADROOM))

    @property
    def tokens_per_row(self) -> int:
        """Length planned for: the longest row, whose batch decides the peak, cut to the model's positions."""
        return min(self.task.tokens.longest, self.model.max_positions or self.task.tokens.longest)

    @property
    def half_precision_weight_bytes(self) -> int:
        """Size of the base weights in 16 bits on one device: a share of them where devices divide them."""
        team = self.constraints.team
        # Processors share one main memory, which holds the whole base before it is divided.
        holders = team.devices if team.sharded and self.hardware.device.kind != "cpu" else 1
        return -(-self.model.parameters * DTYPE_BYTES["bfloat16"] // holders)

    @property
    def tight(self) -> bool:
        """Whether the 16-bit weights alone take more than half of what a run may take of a device."""
        return 2 * self.half_precision_weight_bytes > self.memory_limit

    @property
    def low_data(self) -> bool:
        """Whether there are fewer training rows than the task type calls little."""
        return self.task.training_rows < self.needs.low_data_rows

    @property
    def many_texts(self) -> bool:
        """Whether there are many rows to learn to write from, which hold more than a small rank does."""
        return self.needs.generative and self.task.training_rows >= MANY_ROWS

    def shared(self, cost: Estimate, setup: Setup) -> Estimate:
        """Returns one device's cost of a run where several of them train together."""
        return on_team(cost, setup, self.constraints.team, self.hardware.device)

    def steps(self, effective_batch: int) -> int:
        """Returns the optimizer steps of a plan of three epochs."""
        return max(1, -(-self.task.training_rows * EPOCHS // effective_batch))


def setting_of(hardware: HardwareProfile, model: ModelProfile, task: TaskProfile, constraints: Constraints) -> Setting:
    """Returns the setting that profiles and constraints make."""
    return Setting(hardware=hardware, model=model, task=task, needs=task_needs(task.task), constraints=constraints)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One candidate of a method in its setting: what a rule's condition takes."""

    method: Method
    candidate: Candidate
    estimate: Estimate
    setting: Setting

    @property
    def setup(self) -> Setup:
        """The candidate with the model and the task it meets."""
        return plan_setup(self.setting, self.candidate)

    @property
    def effective_batch(self) -> int:
        """Rows per optimizer step."""
        return self.candidate.batch_size * self.candidate.accumulation

    @property
    def equivalent_rank(self) -> float:
        """Trained parameters per row and column of the targets: the rank of a plain low-rank pair of that size."""
        sides = sum(m.in_features + m.out_features for m in target_modules(self.setup))
        adapter = self.estimate.trainable_parameters - self.setting.model.head_parameters
        return adapter / sides if sides else 0.0

    @property
    def grows_with_depth(self) -> bool:
        """Whether the method reaches every layer."""
        return grows_with_depth(self.method, self.setup)


def plan_setup(setting: Setting, candidate: Candidate) -> Setup:
    """Returns the setup of a candidate, with the steps that a plan of three epochs comes to."""
    effective = candidate.batch_size * candidate.accumulation
    return Setup(
        model=setting.model,
        task=setting.task.task,
        candidate=candidate,
        total_steps=setting.steps(effective),
    )
