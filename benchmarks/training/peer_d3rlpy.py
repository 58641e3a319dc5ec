"""d3rlpy's IQL and CQL as contenders; runs in the peers' Python."""

import d3rlpy
import torch

from benchmarks.sim.turns import Stopwatch, serve
from benchmarks.training.synthetic import BATCHES, Case, log_with_goals


def learner_of(case: Case) -> d3rlpy.algos.QLearningAlgoBase:
    encoder = d3rlpy.models.VectorEncoderFactory(list(case.hidden))
    networks = {"actor_encoder_factory": encoder, "critic_encoder_factory": encoder}
    if case.method == "cql":
        config = d3rlpy.algos.CQLConfig(batch_size=case.batch_size, **networks)
    else:
        config = d3rlpy.algos.IQLConfig(
            batch_size=case.batch_size, value_encoder_factory=encoder, **networks
        )
    return config.create(device="cpu:0")


def main() -> None:
    case = Case.of_command_line()
    dataset = d3rlpy.dataset.MDPDataset(**log_with_goals(case.enough_rows))
    learner = learner_of(case)
    learner.build_with_dataset(dataset)
    batches = [dataset.sample_transition_batch(case.batch_size) for _ in range(BATCHES)]

    def take(steps: int, watch: Stopwatch) -> None:
        """Do what `fit` does between its logging."""
        with watch:
            for step in range(steps):
                batch = batches[step % BATCHES]
                if case.sampling:
                    batch = dataset.sample_transition_batch(case.batch_size)
                learner.update(batch)

    version = f"d3rlpy {d3rlpy.__version__}, torch {torch.__version__}"
    serve(take, version=version, threads=torch.get_num_threads())


if __name__ == "__main__":
    main()
