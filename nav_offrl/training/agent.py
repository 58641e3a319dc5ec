"""The modules of one run, and how they go into a checkpoint and out of it."""

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from nav_offrl.algorithms.distance import WithDistance
from nav_offrl.algorithms.goal_representation import GoalRepresentation
from nav_offrl.algorithms.learner import Learner
from nav_offrl.algorithms.method import Method, Spaces
from nav_offrl.algorithms.registry import make_method
from nav_offrl.networks.normaliser import Normaliser
from nav_offrl.store.reader import Store
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.data import ActionLimits
from nav_offrl.training.run_folder import (
    Checkpoint,
    load_weights,
    named_weights,
    optimizer_tensors,
    restore_optimizer,
)
from nav_offrl.training.store_facts import StoreFacts

REPRESENTATION, POLICY = "representation", "policy"  # the phases of a run


@dataclass
class Agent:
    """What a run trains, and what it knows of its store.

    representation: of images, None on state vectors.
    encoder: observations as they come to the vectors that the method learns on.
    learner: the method and its optimizer.
    """

    representation: GoalRepresentation | None
    encoder: nn.Module
    learner: Learner
    facts: StoreFacts

    @property
    def limits(self) -> ActionLimits:
        """The limits of the robot's commands."""
        return self.facts.actions.limits

    @property
    def method(self) -> Method:
        """The method."""
        return self.learner.method

    def adopt_representation(self) -> None:
        """Hand on what the pre-training has learned, once it has.

        The method's frozen copy of the pair head is filled, or, end to end, the encoder and the
        head that go on learning.
        """
        if self.representation is None:
            return
        features = getattr(self.method, "features", None)
        relation = getattr(features, "relation", None)
        if isinstance(self.method, WithDistance):
            relation = self.method.distance
        if relation is not None:
            relation.load_state_dict(self.representation.pair_head.state_dict())
        if self.encoder is not self.representation.encoder:
            self.encoder.load_state_dict(self.representation.encoder.state_dict())

    def fit_normaliser(self, store: Store) -> None:
        """Take the statistics of the training episodes' state vectors."""
        if isinstance(self.encoder, Normaliser):
            episodes = store.episodes.of_split("train")
            steps = np.concatenate([np.r_[store.steps_of(int(e))] for e in episodes])
            self.encoder.fit(store.field("observation")[steps].astype(np.float32))

    def eval(self) -> None:
        """Put every module into evaluation mode."""
        for module in (self.representation, self.encoder, self.method):
            if module is not None:
                module.eval()


def build_agent(config: TrainConfig, facts: StoreFacts, device: torch.device) -> Agent:
    """Make the modules, initialised from the configuration's seed.

    Raises:
        NavOffrlError: the method cannot learn such actions.
    """
    torch.manual_seed(config.seed)
    actions, size = facts.actions, facts.observation_size
    spaces = Spaces(size, actions.size, actions.grid, return_bounds=facts.return_bounds)
    if config.observation == "state":
        method = make_method(config.method, replace(spaces, compare=False)).to(device)
        learner = Learner(method, total_steps=config.steps)
        return Agent(None, Normaliser(size).to(device), learner, facts)
    representation = GoalRepresentation(config.representation, config.encoder)
    relation = None if config.end_to_end else copy.deepcopy(representation.pair_head)
    method = make_method(config.method, replace(spaces, relation=relation)).to(device)
    representation = representation.to(device)
    if not config.end_to_end:
        learner = Learner(method, total_steps=config.steps)
        return Agent(representation, representation.encoder, learner, facts)
    encoder = copy.deepcopy(representation.encoder)
    rate = config.method.learning_rate
    method = WithDistance(method, copy.deepcopy(representation.pair_head))
    learner = Learner(method, encoder, encoder_learning_rate=rate, total_steps=config.steps)
    return Agent(representation, encoder, learner, facts)


def checkpoint_of(agent: Agent, phase: str, step: int) -> Checkpoint:
    """Collect everything that the next step depends on."""
    weights = named_weights("method", agent.method)
    moments = agent.learner.optimizer.state("method")
    representation = agent.representation
    if representation is not None:
        weights |= named_weights("representation", representation)
        moments |= optimizer_tensors("representation", representation.optimizer)
    if representation is None or agent.encoder is not representation.encoder:
        weights |= named_weights("encoder", agent.encoder)
    return Checkpoint(phase, step, weights, moments, agent.facts.saved())


def restore_agent(agent: Agent, checkpoint: Checkpoint) -> None:
    """Load weights, targets and moments of `checkpoint`.

    Raises:
        NavOffrlError: they do not fit the configuration.
    """
    load_weights(agent.method, "method", checkpoint.weights)
    agent.learner.optimizer.restore("method", checkpoint.optimizer)
    representation = agent.representation
    if representation is not None:
        load_weights(representation, "representation", checkpoint.weights)
        restore_optimizer("representation", representation.optimizer, checkpoint.optimizer)
    if representation is None or agent.encoder is not representation.encoder:
        load_weights(agent.encoder, "encoder", checkpoint.weights)
