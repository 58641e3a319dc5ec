"""Online finetuning: actor, learner, mixed replay, promotion gate."""
